//! A private Tor network on 127.0.0.1: four directory authorities, which are all its relays, exits and onion service
//! directories too; a Tor that onion services stand behind; and clients. Four is the least that onion services need.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::arti::Arti;
use super::authority::{AUTHORITIES, Member, VOTE_DELAY, VOTING_INTERVAL, make_keys};
use super::cable::Cable;
use super::client::Tor;
use super::control::Control;
use super::name_server::NameServer;
use super::process::{Process, complaints, run};

/// Seconds that the authorities get to start before they vote, for one try after the other.
const LEADS: [u64; 3] = [2, 5, 10];

/// Returns the network that all tests share, begun by the first.
pub fn network() -> &'static Network {
    static NETWORK: OnceLock<Result<Network, String>> = OnceLock::new();
    match NETWORK.get_or_init(Network::start) {
        Ok(network) => network,
        Err(reason) => panic!("{reason}"),
    }
}

static LOAD: RwLock<()> = RwLock::const_new(());

/// Lets others run beside the test that holds it.
pub async fn beside_others() -> RwLockReadGuard<'static, ()> {
    LOAD.read().await
}

/// Lets nobody run beside the test that holds it: it loads the machine so much that another would take that for a fault.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    LOAD.write().await
}

pub struct Network {
    root: PathBuf,
    authorities: Vec<String>,
    members: Vec<Member>,
    /// What exits ask for names.
    names: NameServer,
    /// Where onion services stand. Not a relay: it could not use itself, and three are too few.
    onion: Mutex<Tor>,
    _relays: Vec<Process>,
}

/// An onion service; it ends with this.
pub struct Onion {
    pub host: String,
    _control: Control,
}

impl Network {
    fn start() -> Result<Self, String> {
        if !run("tor", &["--version"], b"").is_ok_and(|out| out.contains("Tor version")) {
            return Err("no `tor` found: run tests/install, or `apt-get install tor` on Debian".to_owned());
        }
        let mut missed = String::new();
        for lead in LEADS {
            match Self::try_start(lead) {
                Ok(network) => return Ok(network),
                Err(reason) => missed = reason,
            }
        }
        Err(format!("no private Tor network: {missed}"))
    }

    fn try_start(lead: u64) -> Result<Self, String> {
        let root = tempfile::Builder::new().prefix("isonym-tor-").tempdir();
        // The last keeper removes it.
        let root = root.map_err(|error| error.to_string())?.keep();
        let members: Vec<Member> = (0..AUTHORITIES).map(|number| Member::new(&root, number)).collect();
        let authorities = make_keys(&members)?;
        let names = NameServer::start().map_err(|error| error.to_string())?;
        // A voting slot is made to suit us: slots lie at multiples of the interval plus an offset.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let slot = now + lead + 2 * VOTE_DELAY + 1;
        let relays: Result<Vec<Process>, String> = members
            .iter()
            .map(|member| member.start(&authorities, slot % VOTING_INTERVAL, names.port))
            .collect();
        let relays = relays?;
        let deadline = Instant::now() + Duration::from_secs(lead + 2 * VOTE_DELAY + 5);
        for member in &members {
            wait_for_consensus(&member.folder, deadline)?;
        }
        let onion = Mutex::new(Tor::start(&root, "onion", &authorities)?);
        Ok(Self {
            root,
            authorities,
            members,
            names,
            onion,
            _relays: relays,
        })
    }

    /// Starts a client.
    pub fn client(&self, name: &str) -> Tor {
        Tor::client(&self.root, name, &self.authorities).unwrap()
    }

    /// Starts a client whose streams wait for a controller, if that is said.
    pub fn naming_client(&self, name: &str, unattached: bool) -> Tor {
        Tor::naming(&self.root, name, &self.authorities, unattached).unwrap()
    }

    /// Lays a cable to all relays: see [`Cable::lay`].
    pub fn cable(&self, carries: u64) -> Cable {
        let ports: Vec<u16> = self.members.iter().map(Member::port).collect();
        Cable::lay(&ports, carries)
    }

    /// Starts a client that is an Arti; `None` where there is none on this machine.
    pub fn arti(&self, name: &str) -> Option<Arti> {
        Arti::is_there().then(|| Arti::start(&self.root.join(name), &self.for_arti()).unwrap())
    }

    /// Returns the settings by which an Arti finds this network, in TOML.
    pub fn for_arti(&self) -> String {
        self.for_arti_at(Ipv4Addr::LOCALHOST.into())
    }

    /// As [`Self::for_arti`], where the relays that it begins with are reached at this address of this machine.
    pub fn for_arti_at(&self, address: IpAddr) -> String {
        let members = self.members.iter().zip(&self.authorities);
        let known = members.map(|(member, line)| member.for_arti(line, address).unwrap());
        let known: Vec<(String, String)> = known.collect();
        let (identities, caches): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        format!(
            "[tor_network]
fallback_caches = [{}]
[tor_network.authorities]
v3idents = [{}]
uploads = []
downloads = []
votes = []
[address_filter]
allow_local_addrs = true
allow_resolving_local_addrs = true
# All relays are on one machine.
[path_rules]
ipv4_subnet_family_prefix = 33
ipv6_subnet_family_prefix = 129
",
            caches.join(", "),
            identities.join(", ")
        )
    }

    /// Returns which circuits streams to a port of this machine are on, as exits and the Tor of the onion services see them;
    /// each stream has one entry.
    pub fn circuits_of_streams_to(&self, port: u16) -> Vec<String> {
        let relays = self.members.iter();
        let mut circuits: Vec<_> = relays.flat_map(|relay| relay.circuits_of_streams_to(port)).collect();
        circuits.extend(self.onion.lock().unwrap().circuits_of_streams_to(port));
        circuits
    }

    /// Returns all names that exits were asked for so far.
    pub fn asked_of_exits(&self) -> BTreeSet<String> {
        self.names.asked()
    }

    /// Asserts that no name in `.bit` ever reached an exit, in no test.
    #[track_caller]
    pub fn assert_no_leak(&self) {
        let asked = self.asked_of_exits();
        let leaked: Vec<_> = asked
            .iter()
            .filter(|name| name.split('.').any(|label| label == "bit"))
            .collect();
        assert!(leaked.is_empty(), "an exit was asked for {leaked:?}");
    }

    /// Makes an onion service, with what listens at `to` behind it, and waits until it can be found.
    pub fn onion_service(&self, port: u16, to: SocketAddr) -> Onion {
        let onion = self.onion.lock().unwrap();
        let mut events = onion.control().unwrap();
        events.command("SETEVENTS HS_DESC").unwrap();
        let mut control = onion.control().unwrap();
        let add = format!("ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port={port},{to}");
        let reply = control.command(&add).unwrap();
        let id = reply[0].strip_prefix("250-ServiceID=").unwrap().to_owned();
        // It has two descriptors, each at all directories. One that fails is missed by nobody.
        let (mut begun, mut uploaded, mut failed) = (0, 0, 0);
        while uploaded + failed < begun || uploaded + failed < 2 * AUTHORITIES || uploaded < AUTHORITIES {
            let line = events.line().unwrap();
            if line.contains(&id) {
                begun += usize::from(line.contains(" UPLOAD "));
                uploaded += usize::from(line.contains(" UPLOADED "));
                failed += usize::from(line.contains(" FAILED "));
            }
        }
        Onion {
            host: format!("{id}.onion"),
            _control: control,
        }
    }
}

/// Waits until an authority has a consensus that all of them are in.
fn wait_for_consensus(folder: &Path, deadline: Instant) -> Result<(), String> {
    loop {
        let text = fs::read_to_string(folder.join("cached-consensus")).unwrap_or_default();
        let flags = text.lines().filter(|line| line.starts_with("s "));
        if flags.filter(|line| line.contains(" Running")).count() == AUTHORITIES {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("no consensus; {}", complaints(folder)));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
