//! Another user in place of root, once the ports are open.

use std::ffi::CString;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Gid, Uid, User, getresgid, getresuid, initgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

use super::daemon::keep_memory_private;
use super::eprint_line;

/// Becomes the user whom the settings name, if any; else root is told once that no rights of root are needed.
///
/// It is to be called when ports are open, and before anything is read that strangers send: from then on the whole process
/// is that user's, for good.
pub(super) fn settle(user: Option<&str>, quiet: bool) -> Result<()> {
    if let Some(name) = user {
        return become_user(name).with_context(|| format!("--user {name}"));
    }
    advise_root(quiet);
    Ok(())
}

fn advise_root(quiet: bool) {
    if !quiet && Uid::effective().is_root() {
        eprint_line(format_args!(
            "running as root, which nothing here needs: say --user NAME, and that user is all it is once its ports are open; \
             or run it as a user of its own, who may open ports below 1024 by the capability CAP_NET_BIND_SERVICE"
        ));
    }
}

fn become_user(name: &str) -> Result<()> {
    let user = User::from_name(name).context("the system cannot tell who that is")?;
    let user = user.context("there is no such user")?;
    ensure!(!user.uid.is_root(), "that is root: name a user without its rights");
    if Uid::effective() != user.uid || Uid::current() != user.uid {
        ensure!(
            Uid::effective().is_root(),
            "only root can become another user: leave it out, or start this as root"
        );
        // Groups first, since another user may not change them.
        initgroups(&CString::new(name)?, user.gid).context("cannot take on the groups of that user")?;
        setresgid(user.gid, user.gid, user.gid).context("cannot take on the group of that user")?;
        setresuid(user.uid, user.uid, user.uid).context("cannot become that user")?;
    }
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, nothing).context("cannot give up capabilities")?;
    // No program that is started from here can have more rights either.
    set_no_new_privs(true).context("cannot give up new privileges")?;
    // The system has forgotten it with the change of user.
    keep_memory_private();
    check(&user)
}

/// Checks that nothing of root is left, and none of it comes back.
fn check(user: &User) -> Result<()> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let all_users = [users.real, users.effective, users.saved];
    let all_groups = [groups.real, groups.effective, groups.saved];
    let is_user = all_users.iter().all(|it| *it == user.uid) && all_groups.iter().all(|it| *it == user.gid);
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    let comes_back =
        setresuid(root.0, root.0, root.0).is_ok() || (user.gid != root.1 && setresgid(root.1, root.1, root.1).is_ok());
    let left = capabilities(None)?;
    if !is_user || comes_back || !(left.effective | left.permitted | left.inheritable).is_empty() {
        bail!("rights of root are left after it became that user");
    }
    Ok(())
}
