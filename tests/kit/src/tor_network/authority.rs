//! The relays of the network: directory authorities, which are exits and onion service directories too.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;

use super::circuits::circuits_of_streams_to;
use super::control::Control;
use super::process::{Process, common, free_port, make_folder, run};

pub const AUTHORITIES: usize = 4;

/// Seconds between two consensuses: one is enough for all tests.
pub const VOTING_INTERVAL: u64 = 1800;

/// Minutes for which the descriptors of onion services are at the same relays: what Tor takes in a network for tests,
/// where Arti goes by the consensus.
const ONION_PERIOD: u64 = 24 * VOTING_INTERVAL / 60;

/// Seconds for the votes and for the signatures; Tor takes no fewer than two.
pub const VOTE_DELAY: u64 = 2;

/// One authority.
pub struct Member {
    name: String,
    pub folder: PathBuf,
    or: u16,
    dir: u16,
    control: u16,
}

impl Member {
    pub fn new(root: &Path, number: usize) -> Self {
        let name = format!("auth{number}");
        Self {
            folder: root.join(&name),
            name,
            or: free_port(),
            dir: free_port(),
            control: free_port(),
        }
    }

    /// Makes the keys; returns the line by which everybody knows it.
    fn make_keys(&self) -> Result<String, String> {
        let keys = self.folder.join("keys");
        let made = make_folder(&self.folder).and_then(|()| make_folder(&keys));
        made.and_then(|()| fs::write(self.folder.join("empty"), ""))
            .map_err(|error| error.to_string())?;
        let file = |name: &str| keys.join(name).to_string_lossy().into_owned();
        let certificate = file("authority_certificate");
        run(
            "tor-gencert",
            &[
                "--create-identity-key",
                "-m",
                "12",
                "-a",
                &format!("127.0.0.1:{}", self.dir),
                "-i",
                &file("authority_identity_key"),
                "-s",
                &file("authority_signing_key"),
                "-c",
                &certificate,
                "--passphrase-fd",
                "0",
            ],
            b"not a secret\n",
        )?;
        let text = fs::read_to_string(certificate).map_err(|error| error.to_string())?;
        let v3ident = text.lines().find_map(|line| line.strip_prefix("fingerprint "));
        let (folder, empty) = (self.folder.to_string_lossy(), self.folder.join("empty"));
        let empty = empty.to_string_lossy();
        let out = run(
            "tor",
            &[
                "-f",
                &empty,
                "--defaults-torrc",
                &empty,
                "--list-fingerprint",
                "--quiet",
                "--DataDirectory",
                &folder,
                "--ORPort",
                &format!("127.0.0.1:{}", self.or),
                "--Address",
                "127.0.0.1",
                "--Nickname",
                &self.name,
                "--SocksPort",
                "0",
                "--AssumeReachable",
                "1",
            ],
            b"",
        )?;
        let fingerprint = out.lines().last().and_then(|line| line.strip_prefix(&self.name));
        let (Some(v3ident), Some(fingerprint)) = (v3ident, fingerprint) else {
            return Err(format!("no fingerprints of {}: {out}", self.name));
        };
        Ok(format!(
            "DirAuthority {} orport={} v3ident={v3ident} 127.0.0.1:{}{fingerprint}",
            self.name, self.or, self.dir
        ))
    }

    /// Returns where other relays reach it.
    pub fn port(&self) -> u16 {
        self.or
    }

    /// Returns what Arti has to know of it, as entries of two lists: how it signs, and how it is reached. `line` is that by
    /// which others know it.
    pub fn for_arti(&self, line: &str, address: IpAddr) -> Result<(String, String), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let v3ident = words.iter().find_map(|word| word.strip_prefix("v3ident="));
        // Behind its address.
        let rsa = words.iter().skip_while(|word| !word.starts_with("127.0.0.1:")).skip(1);
        let rsa: String = rsa.copied().collect();
        let ed = fs::read_to_string(self.folder.join("fingerprint-ed25519")).map_err(|error| error.to_string())?;
        let (Some(v3ident), Some(ed)) = (v3ident, ed.split_whitespace().last()) else {
            return Err(format!("no identities of {}", self.name));
        };
        let reached = format!(
            "{{ rsa_identity = \"{rsa}\", ed_identity = \"{ed}\", orports = [\"{address}:{}\"] }}",
            self.or
        );
        Ok((format!("\"{v3ident}\""), reached))
    }

    /// Returns which circuits streams to a port of this machine are on, as it sees them.
    pub fn circuits_of_streams_to(&self, port: u16) -> Vec<String> {
        let mut control = Control::open(self.control, &self.folder.join("control_auth_cookie")).unwrap();
        circuits_of_streams_to(&mut control, &self.folder, port)
    }

    /// Starts it; it asks a name server on this port.
    pub fn start(&self, authorities: &[String], offset: u64, names: u16) -> Result<Process, String> {
        let resolvers = self.folder.join("resolv.conf");
        let text = format!("nameserver 127.0.0.1:{names}\n");
        fs::write(&resolvers, text).map_err(|error| error.to_string())?;
        Process::start(&self.folder, &self.torrc(authorities, offset, &resolvers))
    }

    fn torrc(&self, authorities: &[String], offset: u64, resolvers: &Path) -> Vec<String> {
        let mut torrc = common(&self.folder, self.control, authorities);
        let Self { name, or, dir, .. } = self;
        torrc.push(format!(
            "Nickname {name}
Address 127.0.0.1
ORPort 127.0.0.1:{or}
DirPort 127.0.0.1:{dir}
SocksPort 0
AssumeReachable 1
ExitRelay 1
IPv6Exit 1
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
ExitPolicy accept *:*, accept6 *6:*
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
ServerDNSAllowBrokenConfig 1
ServerDNSRandomizeCase 0
ServerDNSResolvConfFile {resolvers}
DoSCircuitCreationEnabled 0
DoSConnectionEnabled 0
NumCPUs 1
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
AuthDirMaxServersPerAddr 0
TestingAuthDirTimeToLearnReachability 0
TestingMinExitFlagThreshold 0
TestingMinFastFlagThreshold 0
MinUptimeHidServDirectoryV2 0
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
V3AuthVotingInterval {VOTING_INTERVAL} seconds
V3AuthVoteDelay {VOTE_DELAY} seconds
V3AuthDistDelay {VOTE_DELAY} seconds
TestingV3AuthInitialVotingInterval {VOTING_INTERVAL} seconds
TestingV3AuthInitialVoteDelay {VOTE_DELAY} seconds
TestingV3AuthInitialDistDelay {VOTE_DELAY} seconds
TestingV3AuthVotingStartOffset {offset}
V3AuthNIntervalsValid 12
ConsensusParams hsdir_interval={ONION_PERIOD}",
            resolvers = resolvers.display(),
        ));
        torrc
    }
}

/// Makes the keys of all, two at a time: that is all work for the processor.
pub fn make_keys(members: &[Member]) -> Result<Vec<String>, String> {
    let lines = thread::scope(|scope| {
        let halves = members.chunks(AUTHORITIES.div_ceil(2));
        let threads: Vec<_> = halves
            .map(|half| scope.spawn(|| half.iter().map(Member::make_keys).collect::<Vec<_>>()))
            .collect();
        let lines = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        lines.collect::<Vec<_>>()
    });
    lines.into_iter().collect()
}
