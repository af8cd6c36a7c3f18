//! A machine of its own for a test: a network without the world in it, where every port is free. Made of Linux namespaces; the
//! machine beneath notices nothing.

use std::io::{Write as _, stderr};
use std::process::Command;

/// Says to the test that it is the one inside.
const INSIDE: &str = "ISONYM_TEST_MACHINE";

/// What must be possible inside.
const TRIAL: &str = "ip link set lo up && mount --bind /dev/null /etc/resolv.conf";

/// Says whether we are in a machine of this test's own, whose loopback is up. If not, runs the test again in one, or says why
/// it can't.
pub fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).output().unwrap();
        assert!(up.status.success(), "{up:?}");
        return true;
    }
    // As root; else as one whom a namespace of users makes root.
    let ways: [&[&str]; 2] = [&["--net", "--mount"], &["--map-root-user", "--net", "--mount"]];
    let works = |way: &&&[&str]| {
        let output = Command::new("unshare").args(**way).args(["sh", "-c", TRIAL]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        // Not by a macro, which would tell nobody.
        let _ = writeln!(stderr(), "{test}: left out, as no namespaces can be made here");
        return false;
    };
    let mut again = Command::new("unshare");
    again.args(*way).arg(std::env::current_exe().unwrap());
    let output = again.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}
