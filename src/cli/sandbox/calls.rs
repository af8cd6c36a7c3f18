//! Which system calls are given up: those that no command which stays up has any use for, and by which a fault would get
//! at other processes, at the kernel, at the terminal, or past the proxy in a way that Landlock does not see. What is left
//! are all others: a list of those that are needed would change with each release of the system's library.
//!
//! Sources: Linux `Documentation/userspace-api/seccomp_filter.rst` and `landlock.rst` (what it knows of the network are TCP's
//! `connect` and `bind` alone).

use std::collections::BTreeMap;

use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// Calls that are refused whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory, their files, what they do.
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // Wide doors to the kernel. By io_uring all of this could be had in another way.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_request_key,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    // Which kernel it is.
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    // What the machine's files are, and for whom.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    // Who it is.
    libc::SYS_capset,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
    // What the machine is.
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Calls of the x32 ABI, which kernels for `x86_64` may know besides: they are told from the others by this bit, and the numbers
/// without it are below this one. Programs of that ABI are others than this one.
///
/// Source: Linux `arch/x86/entry/syscalls/syscall_64.tbl`.
#[cfg(target_arch = "x86_64")]
const X32: (i64, i64) = (0x4000_0000, 548);

/// Requests of `ioctl` that type for whoever sits at the terminal.
///
/// Source: Linux `include/uapi/asm-generic/ioctls.h`.
const KEYSTROKES: [u32; 2] = [0x5412, 0x541c];

/// What a socket's type is, without the flags that go along with it.
///
/// Source: Linux `include/linux/net.h`.
const TYPE: u32 = 0xf;

/// How an argument has to be for a rule to hold.
#[derive(Clone, Copy)]
enum Argument {
    Is(u32),
    IsNot(u32),
    /// The bits of the first, and of them alone, are as in the second.
    Masked(u32, u32),
}

/// Why no system call could be given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallsError {
    /// The filter can not be made for this processor.
    #[error("system calls can not be told apart: {0}")]
    Filter(#[from] BackendError),
    /// The kernel does not take it.
    #[error("the kernel takes no filter of system calls: {0}")]
    Kernel(#[from] seccompiler::Error),
}

/// Gives system calls up, for this thread and all that it starts from now on. With `datagrams` it may open sockets for UDP.
pub(super) fn give_up(datagrams: bool) -> Result<(), CallsError> {
    let refused = refused(datagrams)?;
    // Where it is not known at all, the system's library starts threads in the older way, whose arguments can be looked at.
    let unknown = filter([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)?;
    apply_filter(&unknown)?;
    apply_filter(&refused)?;
    Ok(())
}

/// Returns a filter that answers these calls with an error.
fn filter(calls: BTreeMap<i64, Vec<SeccompRule>>, error: libc::c_int) -> Result<BpfProgram, BackendError> {
    let refuse = SeccompAction::Errno(error.unsigned_abs());
    let processor = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(calls, SeccompAction::Allow, refuse, processor)?.try_into()
}

/// Returns the filter of what is refused.
fn refused(datagrams: bool) -> Result<BpfProgram, BackendError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    calls.insert(libc::SYS_clone, processes()?);
    calls.insert(libc::SYS_ioctl, keystrokes()?);
    calls.insert(libc::SYS_socket, sockets(datagrams)?);
    // Data along with the opening of a connection is one that Landlock did not see.
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        let opens = bits(libc::MSG_FASTOPEN);
        calls.insert(call, vec![rule(&[(flags, Argument::Masked(opens, opens))])?]);
    }
    #[cfg(target_arch = "x86_64")]
    calls.extend((0..X32.1).map(|number| (number | X32.0, Vec::new())));
    filter(calls, libc::EPERM)
}

/// Returns the rule for calls whose arguments, by their places, all are as it is said.
fn rule(arguments: &[(u8, Argument)]) -> Result<SeccompRule, BackendError> {
    let conditions = arguments.iter().map(|(place, argument)| {
        let (how, value) = match *argument {
            Argument::Is(value) => (Eq, value),
            Argument::IsNot(value) => (Ne, value),
            Argument::Masked(mask, value) => (MaskedEq(mask.into()), value),
        };
        SeccompCondition::new(*place, Dword, how, value.into())
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// What of `clone` is refused: all but threads.
fn processes() -> Result<Vec<SeccompRule>, BackendError> {
    let thread = bits(libc::CLONE_THREAD);
    Ok(vec![rule(&[(0, Argument::Masked(thread, 0))])?])
}

/// What of `ioctl` is refused.
fn keystrokes() -> Result<Vec<SeccompRule>, BackendError> {
    let requests = KEYSTROKES.iter();
    requests.map(|request| rule(&[(1, Argument::Is(*request))])).collect()
}

/// What of `socket` is refused: of the Internet's all but TCP, and UDP where that is wanted; the machine's own are left, and how
/// it is asked for its addresses. Landlock knows the ports of TCP alone, not those of its kin.
fn sockets(datagrams: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let [stream, datagram] = [libc::SOCK_STREAM, libc::SOCK_DGRAM].map(bits);
    let internet = [libc::AF_INET, libc::AF_INET6].map(bits);
    let known = internet.into_iter().chain([libc::AF_UNIX, libc::AF_NETLINK].map(bits));
    let others: Vec<_> = known.map(|family| (0, Argument::IsNot(family))).collect();
    let mut rules = vec![rule(&others)?];
    let protocols: &[libc::c_int] = if datagrams {
        // Whichever is the type's own.
        &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP]
    } else {
        &[0, libc::IPPROTO_TCP]
    };
    for family in internet {
        let family = (0, Argument::Is(family));
        for kind in (0..=TYPE).filter(|kind| *kind != stream && !(datagrams && *kind == datagram)) {
            rules.push(rule(&[family, (1, Argument::Masked(TYPE, kind))])?);
        }
        let no_protocol = protocols.iter().map(|protocol| (2, Argument::IsNot(bits(*protocol))));
        rules.push(rule(&std::iter::once(family).chain(no_protocol).collect::<Vec<_>>())?);
    }
    Ok(rules)
}

/// Returns an argument as the kernel has it.
fn bits(argument: libc::c_int) -> u32 {
    argument.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::process::Command;

    use socket2::{Domain, Protocol, SockAddr, Socket, Type};

    /// Returns what a filter answers a call with, or nothing where it lets the call pass.
    ///
    /// Of the machine that filters are written for, as Linux `Documentation/networking/filter.rst` has it, this is what such
    /// filters are made of.
    fn answer(filter: &BpfProgram, number: i64, arguments: [u32; 4]) -> Option<libc::c_int> {
        let architecture = if cfg!(target_arch = "x86_64") {
            0xc000_003e
        } else {
            0xc000_00b7
        };
        // The kernel's `struct seccomp_data`, in its words.
        let mut data = vec![u32::try_from(number).unwrap(), architecture, 0, 0];
        data.extend(arguments.iter().flat_map(|argument| [*argument, 0]));
        let (mut at, mut register) = (0, 0);
        loop {
            let step = &filter[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                0x20 => register = data[step.k as usize / 4],
                0x54 => register &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(register == step.k),
                0x25 => at += jump(register > step.k),
                0x35 => at += jump(register >= step.k),
                0x06 => {
                    return match step.k & 0xffff_0000 {
                        libc::SECCOMP_RET_ALLOW => None,
                        libc::SECCOMP_RET_ERRNO => Some((step.k & 0xffff).cast_signed()),
                        other => panic!("{other:x}"),
                    };
                }
                other => panic!("{other:x}"),
            }
        }
    }

    #[test]
    fn calls_that_are_refused_and_calls_that_are_not() {
        let number = |value: libc::c_int| value.cast_unsigned();
        let [unix, inet, inet6, netlink, packet] = [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
            libc::AF_PACKET,
        ]
        .map(number);
        let flags = number(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        let [stream, datagram, raw, packets] = [
            libc::SOCK_STREAM,
            libc::SOCK_DGRAM,
            libc::SOCK_RAW,
            libc::SOCK_SEQPACKET,
        ]
        .map(|kind| number(kind) | flags);
        let [tcp, udp, multipath, sctp] = [
            libc::IPPROTO_TCP,
            libc::IPPROTO_UDP,
            libc::IPPROTO_MPTCP,
            libc::IPPROTO_SCTP,
        ]
        .map(number);
        let fast = number(libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL);
        let thread =
            number(libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD);
        // Whether it is refused without datagrams, and with them.
        let cases = [
            (libc::SYS_socket, [unix, stream, 0, 0], [false; 2]),
            (libc::SYS_socket, [unix, datagram, 0, 0], [false; 2]),
            (libc::SYS_socket, [netlink, raw, 0, 0], [false; 2]),
            (libc::SYS_socket, [inet, stream, 0, 0], [false; 2]),
            (libc::SYS_socket, [inet6, stream, tcp, 0], [false; 2]),
            (libc::SYS_socket, [inet, datagram, 0, 0], [true, false]),
            (libc::SYS_socket, [inet6, datagram, udp, 0], [true, false]),
            (libc::SYS_socket, [inet, stream, multipath, 0], [true; 2]),
            (libc::SYS_socket, [inet6, stream, sctp, 0], [true; 2]),
            (libc::SYS_socket, [inet, packets, sctp, 0], [true; 2]),
            (libc::SYS_socket, [inet, raw, udp, 0], [true; 2]),
            (libc::SYS_socket, [packet, raw, 0, 0], [true; 2]),
            (libc::SYS_sendto, [3, 0, 0, fast], [true; 2]),
            (libc::SYS_sendmsg, [3, 0, fast, 0], [true; 2]),
            (libc::SYS_sendmmsg, [3, 0, 1, fast], [true; 2]),
            (libc::SYS_sendto, [3, 0, 0, number(libc::MSG_NOSIGNAL)], [false; 2]),
            (libc::SYS_clone, [thread, 0, 0, 0], [false; 2]),
            (libc::SYS_clone, [number(libc::SIGCHLD), 0, 0, 0], [true; 2]),
            (
                libc::SYS_clone,
                [number(libc::CLONE_VM | libc::CLONE_VFORK), 0, 0, 0],
                [true; 2],
            ),
            (libc::SYS_ioctl, [0, KEYSTROKES[0], 0, 0], [true; 2]),
            (libc::SYS_ioctl, [0, KEYSTROKES[1], 0, 0], [true; 2]),
            (libc::SYS_ioctl, [0, 0x5413, 0, 0], [false; 2]),
            (libc::SYS_execve, [0; 4], [true; 2]),
            (libc::SYS_execveat, [0; 4], [true; 2]),
            (libc::SYS_ptrace, [0; 4], [true; 2]),
            (libc::SYS_process_vm_readv, [0; 4], [true; 2]),
            (libc::SYS_pidfd_getfd, [0; 4], [true; 2]),
            (libc::SYS_bpf, [0; 4], [true; 2]),
            (libc::SYS_keyctl, [0; 4], [true; 2]),
            (libc::SYS_mount, [0; 4], [true; 2]),
            (libc::SYS_setns, [0; 4], [true; 2]),
            (libc::SYS_unshare, [0; 4], [true; 2]),
            (libc::SYS_setuid, [0; 4], [true; 2]),
            (libc::SYS_clock_settime, [0; 4], [true; 2]),
            (libc::SYS_finit_module, [0; 4], [true; 2]),
            (libc::SYS_io_uring_setup, [0; 4], [true; 2]),
            (libc::SYS_openat, [0; 4], [false; 2]),
            (libc::SYS_futex, [0; 4], [false; 2]),
            (libc::SYS_prlimit64, [0; 4], [false; 2]),
        ];
        let filters = [false, true].map(|datagrams| refused(datagrams).unwrap());
        for (call, arguments, is_refused) in cases {
            for (filter, is_refused) in filters.iter().zip(is_refused) {
                let expected = is_refused.then_some(libc::EPERM);
                assert_eq!(answer(filter, call, arguments), expected, "{call} {arguments:?}");
            }
        }
        #[cfg(target_arch = "x86_64")]
        for call in [0, 59, 520, 547] {
            assert_eq!(answer(&filters[0], call | X32.0, [0; 4]), Some(libc::EPERM));
        }
        let unknown = filter([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS).unwrap();
        assert_eq!(answer(&unknown, libc::SYS_clone3, [0; 4]), Some(libc::ENOSYS));
        assert_eq!(answer(&unknown, libc::SYS_clone, [0; 4]), None);
    }

    /// Does something in a thread that has given calls up: no other one of the process has.
    fn confined<T: Send>(datagrams: bool, act: impl FnOnce() -> T + Send) -> Option<T> {
        let in_thread = || give_up(datagrams).is_ok().then(act);
        std::thread::scope(|scope| scope.spawn(in_thread).join()).unwrap()
    }

    #[test]
    fn the_kernel_keeps_to_it() {
        let refused = |error: std::io::Error| error.kind() == ErrorKind::PermissionDenied;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SockAddr::from(listener.local_addr().unwrap());
        let done = confined(false, || {
            assert!(refused(Command::new("/bin/true").spawn().unwrap_err()));
            assert_eq!(std::thread::spawn(|| 1).join().unwrap(), 1);
            for (domain, kind, protocol) in [
                (Domain::IPV4, Type::DGRAM, None),
                (Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)),
                (Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)),
                (Domain::VSOCK, Type::STREAM, None),
            ] {
                assert!(refused(Socket::new(domain, kind, protocol).unwrap_err()), "{domain:?}");
            }
            Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
            let fast = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let opened = fast.send_to_with_flags(b"1", &address, libc::MSG_FASTOPEN);
            assert!(refused(opened.unwrap_err()));
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.connect(&address).unwrap();
        });
        if done.is_none() {
            eprintln!("LEFT OUT: no filter of system calls is taken here");
            return;
        }
        confined(true, || Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap());
        // The others still may.
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
}
