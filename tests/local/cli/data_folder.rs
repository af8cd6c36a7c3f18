//! Data folders that can't be used, are in use, or hold something else; anchors that don't fit.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::world;
use isonym_testkit::program::{End, Program, Stage};
use isonym_testkit::running::Running;

fn synced(program: &Program, stage: &Stage) -> String {
    End::of(&mut program.direct(), ["sync", &stage.server('t')]).assert_succeeded();
    tip(program)
}

fn tip(program: &Program) -> String {
    let status = End::of(&mut program.direct(), ["status", "--json"]);
    status.assert_succeeded();
    status.json()["tip_hash"].as_str().unwrap().to_owned()
}

#[test]
fn a_malformed_anchor() {
    let program = Program::new();
    for (anchor, word) in [
        ("1", "expected HEIGHT:HASH"),
        ("x:00", "height `x`"),
        ("1:00", "64 hexadecimal digits"),
    ] {
        End::of(&mut program.direct(), ["status", "--anchor", anchor]).assert_failed(&["--anchor", anchor, word]);
    }
}

#[test]
fn another_networks_anchor() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let anchor = "--anchor=815000:46c38b14b25fef782cc454cac284b720f58ad414d2c323a980ede420da6affcf";
    End::of(&mut program.direct(), ["sync", anchor, &stage.server('t')])
        .assert_failed(&["trust anchor at height 815000"]);
}

#[test]
fn a_wrong_anchor_costs_no_headers() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let tip_before = synced(&program, &stage);
    let anchor = format!("--anchor=50:{}", "ab".repeat(32));
    let end = End::of(&mut program.direct(), ["sync", &anchor, &stage.server('t')]);
    end.assert_failed(&["another trust anchor", "trust anchor at height 50"]);
    assert_eq!(tip(&program), tip_before);
}

#[test]
fn an_anchor_that_fits_is_taken() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let tip_before = synced(&program, &stage);
    let hash = world().chain().header(50).unwrap().hash();
    let anchor = format!("--anchor=50:{hash}");
    End::of(&mut program.direct(), ["sync", &anchor, &stage.server('t')]).assert_succeeded();
    let status = End::of(&mut program.direct(), ["status", "--json", &anchor]).json();
    assert_eq!(status["tip_hash"], tip_before.as_str());
    assert_eq!(status["anchor"]["height"], 50);
}

#[test]
fn a_file_in_the_way() {
    let program = Program::new();
    fs::write(program.home().join("data"), "").unwrap();
    End::of(&mut program.direct(), ["status"]).assert_failed(&["cannot use", "regtest", "--datadir"]);

    let program = Program::new();
    fs::create_dir_all(program.folder()).unwrap();
    fs::write(program.folder().join("headers"), "").unwrap();
    let end = End::of(&mut program.direct(), ["status"]);
    end.assert_failed(&["header store", "headers", "move away", "--datadir"]);
    assert!(!end.err.contains("make room"), "{end:?}");
}

/// Whatever stands inside of the store is the store's, so it is moved aside with it.
#[test]
fn something_else_where_the_store_has_its_files() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let tip_before = synced(&program, &stage);
    let headers = program.folder().join("headers");
    for name in ["db", "conf", "snap.0123456789abcdef", "blobs"] {
        let odd = headers.join(name);
        if name == "blobs" {
            let _ = fs::remove_dir_all(&odd);
            fs::write(&odd, "").unwrap();
        } else {
            let _ = fs::remove_file(&odd);
            fs::create_dir_all(odd.join("inside")).unwrap();
        }
        let end = End::of(&mut program.direct(), ["sync", &stage.server('t')]);
        end.assert_succeeded();
        assert!(end.err.contains("moved aside"), "{name}: {end:?}");
        assert_eq!(tip(&program), tip_before, "{name}");
        assert!(program.folder().join("headers.damaged").join(name).exists(), "{name}");
    }
    // What was to be moved there finds a file in its place.
    fs::remove_dir_all(program.folder().join("headers.damaged")).unwrap();
    fs::write(program.folder().join("headers.damaged"), "").unwrap();
    fs::remove_file(headers.join("db")).unwrap();
    fs::create_dir(headers.join("db")).unwrap();
    End::of(&mut program.direct(), ["sync", &stage.server('t')]).assert_succeeded();
    assert_eq!(tip(&program), tip_before);
}

#[test]
fn a_store_that_this_user_may_not_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let program = Program::new();
    synced(&program, &Stage::honest(world()));
    let db = program.folder().join("headers").join("db");
    fs::set_permissions(&db, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&db).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let end = End::of(&mut program.direct(), ["status"]);
    end.assert_failed(&["header store", "let this user read and write it", "--datadir"]);
    assert!(!end.err.contains("make room"), "{end:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_can_not_be_written() {
    // Not even root can make folders there.
    let program = Program::new();
    End::of(
        &mut program.bare(),
        ["status", "--network=regtest", "--datadir=/proc/isonym"],
    )
    .assert_failed(&["cannot use /proc/isonym/regtest", "--datadir"]);
}

#[test]
fn a_damaged_store_is_reported_and_made_anew() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let tip_before = synced(&program, &stage);
    let db = program.folder().join("headers").join("db");
    let mut bytes = fs::read(&db).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x5a;
    }
    fs::write(&db, bytes).unwrap();
    let end = End::of(&mut program.direct(), ["sync", &stage.server('t')]);
    end.assert_succeeded();
    assert!(end.err.contains("headers on disk are not used"), "{end:?}");
    assert!(!end.err.contains("panicked"), "{end:?}");
    assert_eq!(tip(&program), tip_before);
}

#[test]
fn files_that_make_no_sense() {
    let program = Program::new();
    fs::create_dir_all(program.folder()).unwrap();
    fs::write(program.known_servers(), "server.sim:50002:s\n").unwrap();
    End::of(&mut program.direct(), ["status"]).assert_failed(&["known-servers, line 1"]);
    fs::write(program.known_servers(), [0xff, 0xfe]).unwrap();
    End::of(&mut program.direct(), ["status"]).assert_failed(&["known-servers"]);
    fs::remove_file(program.known_servers()).unwrap();
    // This one only tells what was: not worth an error.
    fs::write(program.folder().join("last-sync.json"), "{").unwrap();
    End::of(&mut program.direct(), ["status"]).assert_succeeded();
}

#[test]
fn a_second_process() {
    let program = Program::new();
    fs::create_dir_all(program.folder()).unwrap();
    let lock = fs::File::create(program.folder().join("lock")).unwrap();
    lock.lock().unwrap();
    // A daemon would wait for ever, since others use the folder for good.
    let daemon = ["daemon", "--rpc-listen=127.0.0.1:0"];
    let end = End::of(program.direct().arg("--server=127.0.0.1:1:t"), daemon);
    end.assert_failed(&["another isonym process uses", "--datadir"]);
    // Commands wait for one another, and say so.
    let mut waiting = [&["status"][..], &["sync"], &["name_show", "d/here"]].map(|command| {
        let mut waiting = program.direct();
        waiting.arg("--server=127.0.0.1:1:t").args(command);
        let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut err = BufReader::new(waiting.stderr.take().unwrap());
        err.read_line(&mut said).unwrap();
        assert!(said.contains("waiting for another isonym"), "{said}");
        (waiting, err)
    });
    for (waiting, _) in &mut waiting {
        assert_eq!(waiting.try_wait().unwrap(), None);
    }
    drop(lock);
    let ends = waiting.map(|(mut waiting, mut err)| {
        let mut said = String::new();
        err.read_to_string(&mut said).unwrap();
        assert!(!said.contains("another isonym process"), "{said}");
        waiting.wait().unwrap().success()
    });
    // There is no server for the other two.
    assert_eq!(ends, [true, false, false]);
    End::of(&mut program.direct(), ["status"]).assert_succeeded();
}

/// A file system of 700 KiB, where mounting is allowed.
#[cfg(target_os = "linux")]
struct Tiny(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Tiny {
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=700k", "tmpfs"]).arg(&at);
        mount.output().ok()?.status.success().then_some(Self(at))
    }

    /// Fills it but for so many bytes.
    fn fill(&self, room: u64) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length - room).unwrap();
    }

    fn grow(&self) {
        self.remount("size=100m");
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system() {
    let program = Program::new();
    let Some(tiny) = Tiny::mount(program.home().join("data")) else {
        eprintln!("skipped: no right to mount");
        return;
    };
    let stage = Stage::honest(world());
    for room in [0, 8192, 32_768] {
        // What a failed round left would make room where it is given up.
        let _ = fs::remove_dir_all(program.folder());
        tiny.fill(room);
        let end = End::of(&mut program.direct(), ["sync", &stage.server('t')]);
        end.assert_failed(&["No space left on device", "--datadir"]);
    }
    tiny.grow();
    synced(&program, &stage);
}

#[cfg(target_os = "linux")]
#[test]
fn a_good_store_where_nothing_can_be_written() {
    let program = Program::new();
    let Some(tiny) = Tiny::mount(program.home().join("data")) else {
        eprintln!("skipped: no right to mount");
        return;
    };
    tiny.grow();
    let stage = Stage::honest(world());
    let tip_before = synced(&program, &stage);
    let status = || {
        let end = End::of(&mut program.direct(), ["status", "--json"]);
        end.assert_succeeded();
        assert_eq!(end.json()["tip_hash"], tip_before.as_str(), "{end:?}");
        end
    };
    tiny.remount("ro");
    let end = status();
    assert!(end.err.contains("kept in memory alone"), "{end:?}");
    let unwritten = end.json()["unwritten"].to_string();
    assert!(unwritten.contains("Read-only file system"), "{unwritten}");
    tiny.remount("rw");
    tiny.fill(0);
    status();
    fs::remove_file(program.home().join("data/filler")).unwrap();
    let end = status();
    assert!(end.err.is_empty() && end.json().get("unwritten").is_none(), "{end:?}");
}

/// Starts a daemon where nothing can be written, and returns what it says by the time that it listens.
#[cfg(target_os = "linux")]
fn started(program: &Program, stage: &Stage, arguments: &[&str]) -> Result<(Running, String), String> {
    let mut command = program.direct();
    command.args(["daemon", "--rpc-listen=127.0.0.1:0", &stage.server('t')]);
    command.args(arguments);
    let mut running = Running::start(command, &program.home().join("log"));
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let log = running.log();
        if let Some((_, rest)) = log.split_once("listening on http://") {
            let address = rest.split('/').next().unwrap().to_owned();
            return Ok((running, address));
        }
        if running.status().is_some() {
            return Err(running.log());
        }
        assert!(Instant::now() < end, "{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_where_nothing_can_be_written() {
    let program = Program::new();
    let Some(tiny) = Tiny::mount(program.home().join("data")) else {
        eprintln!("skipped: no right to mount");
        return;
    };
    tiny.grow();
    let stage = Stage::honest(world());
    synced(&program, &stage);
    let password = ["--rpc-user=me", "--rpc-password=mine"];
    let counted = |arguments: &[&str]| {
        let mut command = program.on_regtest();
        End::of(command.arg("rpc").args(arguments), ["getblockcount"]).assert_succeeded();
    };
    // A full disk has room for a socket, which is a name alone.
    tiny.fill(0);
    let (running, _) = started(&program, &stage, &[]).unwrap();
    assert!(running.log().contains("nobody can call at"), "{}", running.log());
    counted(&[]);
    drop(running);
    fs::remove_file(program.home().join("data/filler")).unwrap();
    // One that is for reading alone has none, and then the password is left.
    let _ = fs::remove_file(program.folder().join("rpc.sock"));
    tiny.remount("ro");
    let said = started(&program, &stage, &[]).map(|_| ()).unwrap_err();
    assert!(said.contains("give --rpc-user and --rpc-password"), "{said}");
    assert!(
        said.contains("Read-only file system") && !said.contains("make room"),
        "{said}"
    );
    let (running, address) = started(&program, &stage, &password).unwrap();
    assert!(running.log().contains("--rpc-listen"), "{}", running.log());
    counted(&[&password[..], &["--rpc-listen", &address]].concat());
    drop(running);
    tiny.remount("rw");
}

#[test]
fn a_folder_that_others_may_write_to() {
    use std::os::unix::fs::PermissionsExt as _;
    let program = Program::new();
    fs::create_dir_all(program.folder()).unwrap();
    fs::set_permissions(program.folder(), fs::Permissions::from_mode(0o770)).unwrap();
    End::of(&mut program.direct(), ["status"]).assert_failed(&["other users may write", "chmod go-w"]);
}

/// What a full disk is to a process: its files can't grow. The shell's unit is 512 bytes or 1 kB.
#[cfg(target_os = "linux")]
#[test]
fn files_that_can_not_grow() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let data = program.home().join("data");
    for blocks in [0, 1, 20, 400] {
        let mut limited = Command::new("sh");
        let end = limited
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f $1; shift; exec \"$@\"",
                "sh",
                &blocks.to_string(),
            ])
            .arg(env!("CARGO_BIN_EXE_isonym"))
            .args(["--network=regtest", "--direct", "sync", &stage.server('t'), "--datadir"])
            .arg(&data)
            .env_clear()
            .env("PATH", "/bin:/usr/bin")
            .env("HOME", program.home());
        let end = End::from(end.output().unwrap());
        end.assert_failed(&["File too large", "--datadir"]);
    }
    synced(&program, &stage);
}
