//! Writes what the node keeps, in a thread of its own: headers, and small files for people.
//!
//! A disk may take seconds to say that something is on it. Nobody waits for that but the thread: a task notes what
//! changed, and has what waits copied and handed to the thread whenever it is free. What changes again before its turn
//! comes takes the place of what was noted before, so that what waits does not grow with time.
//!
//! The disk is not the product: where it is full, or fails, the node goes on from memory. That is told once, and again
//! when it changes; what could not be written goes on waiting, and is tried again after a while.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::NodeError;
use super::folder::Folder;
use super::known_servers;
use super::learned_servers;
use super::server_operators;
use super::server_ways;
use super::store::{BatchEnd, BatchScope, HeaderBatch, HeaderChange, HeaderStore, StoreError, UnwrittenHeaders};
use crate::backoff::Backoff;
use crate::chain::HeaderTree;
use crate::time::Moment;

/// The file that tells how the last sync went with each server.
pub(super) const LAST_SYNC: &str = "last-sync.json";

/// Most headers in a batch. Whoever copies them holds the tree meanwhile, which is for less than a millisecond; and sled
/// keeps all that a batch replaces until it is over: with 2,016 the process came to 68 MiB, with so many to 35.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(503);

/// The pauses before what could not be written is tried again.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// A file that is replaced whole. Nothing is decided by it before the next start, so that the node goes on when it
/// can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SmallFile {
    LastSync,
    KnownServers,
    ServerWays,
    LearnedServers,
    ServerOperators,
}

impl SmallFile {
    fn write(self, folder: &Folder, text: &str) -> Result<(), NodeError> {
        let name = match self {
            Self::LastSync => LAST_SYNC,
            Self::ServerWays => server_ways::FILE,
            Self::KnownServers => known_servers::FILE,
            Self::LearnedServers => learned_servers::FILE,
            Self::ServerOperators => server_operators::FILE,
        };
        folder.replace(name, text)
    }
}

/// How it goes with what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// All of it is on the disk.
    Done,
    /// The thread has a job.
    Busy,
    /// It could not be written, and is tried again at this moment.
    Waits(Moment),
    /// The thread is gone: nothing more will be written.
    Gone,
}

/// Since when something can't be written.
#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    retry_at: Moment,
    error: Option<NodeError>,
}

impl Outage {
    fn is_over(&self, now: Option<Moment>) -> bool {
        self.error.is_none() || now.is_none_or(|now| now >= self.retry_at)
    }

    /// Takes a failure down, and tells of it unless it is the one that was told of last.
    fn begin(&mut self, now: Moment, what: &str, error: NodeError) {
        let is_known = self.error.as_ref().is_some_and(|known| known.is_same_failure(&error));
        if !is_known {
            tracing::warn!("{what} kept in memory alone, until the disk takes them: {error}");
        }
        self.retry_at = now + PAUSES.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error);
    }

    fn end(&mut self, what: &str) {
        if self.error.take().is_some() {
            tracing::warn!("{what} written to the disk again");
        }
        self.failures = 0;
    }
}

/// What is told of each outage.
const HEADERS: &str = "new headers are";
const FILES: &str = "what was learnt of servers, and how the sync went, are";

/// What the thread is given at a time.
struct Job {
    headers: Option<HeaderBatch>,
    files: BTreeMap<SmallFile, String>,
}

/// How a job ended.
struct JobEnd {
    /// `None` when no headers were among it.
    headers: Option<Result<BatchEnd, StoreError>>,
    /// What could not be written, and why the last of it could not.
    files: BTreeMap<SmallFile, String>,
    error: Option<NodeError>,
    has_files: bool,
}

/// What the node keeps on disk, and the thread that writes it. Dropping it waits for the thread's job, and leaves what
/// is not given to it yet unwritten.
pub(super) struct Disk {
    headers: UnwrittenHeaders,
    files: BTreeMap<SmallFile, String>,
    /// Gone when the thread is to end.
    jobs: Option<mpsc::Sender<Job>>,
    /// Nobody else takes from it: the lock is there so that the node can be shared, and never waited for.
    ends: Mutex<mpsc::Receiver<JobEnd>>,
    /// Whether the thread has a job whose end was not taken down yet.
    busy: bool,
    /// What the thread's headers are, for the case that they can't be written.
    in_flight: Option<BatchScope>,
    of_headers: Outage,
    of_files: Outage,
    /// Where the headers are, for people.
    store: PathBuf,
    ended: watch::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk(..)")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.end();
    }
}

impl Disk {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] when the system has no thread left.
    pub(super) fn open(
        mut store: HeaderStore,
        headers: UnwrittenHeaders,
        folder: Arc<Folder>,
    ) -> Result<Self, StoreError> {
        let (jobs, given) = mpsc::channel();
        let (told, ends) = mpsc::channel();
        let (signal, ended) = watch::channel(());
        let path = store.path().to_owned();
        let unwritable = store.take_unwritable();
        let work = move || write_all(store, &folder, &given, &told, &signal);
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(work);
        let mut disk = Self {
            headers,
            files: BTreeMap::new(),
            jobs: Some(jobs),
            ends: Mutex::new(ends),
            busy: false,
            in_flight: None,
            of_headers: Outage::default(),
            of_files: Outage::default(),
            store: path,
            ended,
            thread: Some(thread.map_err(|error| StoreError::Io(Arc::new(error)))?),
        };
        if let Some(error) = unwritable {
            let error = disk.store_error(error);
            disk.of_headers.begin(Moment::default(), HEADERS, error);
        }
        Ok(disk)
    }

    /// Returns what changes whenever the thread has ended a job, so that [`Self::advance`] has something to do.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }

    /// Notes that the tree changed. It is written bit by bit with [`Self::advance`].
    pub(super) fn note_headers(&mut self, tree: &HeaderTree, change: HeaderChange) {
        self.headers.note(tree, change);
    }

    /// Notes a file's text, in place of one that waits. It is written with [`Self::advance`].
    pub(super) fn note_file(&mut self, file: SmallFile, text: String) {
        self.files.insert(file, text);
    }

    /// Takes down how the thread's job ended, and gives it the next one, without ever waiting. It is to be called again
    /// when a job has ended, and at the moment that it names.
    pub(super) fn advance(&mut self, tree: &HeaderTree, now: Moment) -> Writing {
        self.step(tree, now, Some(now))
    }

    /// Tries to write all that waits, now, and returns when it is on the disk. It blocks the thread that calls.
    ///
    /// # Errors
    ///
    /// [`NodeError`] when a part of it can't be written.
    pub(super) fn finish(&mut self, tree: &HeaderTree, now: Moment) -> Result<(), NodeError> {
        loop {
            let failures = self.failures();
            match self.step(tree, now, None) {
                Writing::Busy => {
                    let Ok(end) = self.ends().recv() else {
                        break;
                    };
                    self.on_end(tree, now, end);
                    if self.failures() > failures {
                        break;
                    }
                }
                Writing::Done | Writing::Gone | Writing::Waits(_) => break,
            }
        }
        self.trouble().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn failures(&self) -> u32 {
        self.of_headers.failures.saturating_add(self.of_files.failures)
    }

    /// Returns why something is kept in memory alone, if it is.
    pub(super) fn trouble(&self) -> Option<&NodeError> {
        self.of_headers.error.as_ref().or(self.of_files.error.as_ref())
    }

    /// As [`Self::advance`]; without `due` what waits for another try is tried at once.
    fn step(&mut self, tree: &HeaderTree, now: Moment, due: Option<Moment>) -> Writing {
        if self.busy {
            match self.ends().try_recv() {
                Ok(end) => self.on_end(tree, now, end),
                Err(TryRecvError::Empty) => return Writing::Busy,
                Err(TryRecvError::Disconnected) => return self.lose(now),
            }
        }
        let headers = if self.of_headers.is_over(due) {
            self.headers.next_batch(tree, BATCH)
        } else {
            None
        };
        let files = if self.of_files.is_over(due) {
            std::mem::take(&mut self.files)
        } else {
            BTreeMap::new()
        };
        if headers.is_none() && files.is_empty() {
            let waiting = [&self.of_headers, &self.of_files].into_iter();
            let waiting = waiting.filter(|outage| outage.error.is_some());
            let next = waiting.map(|outage| outage.retry_at).min();
            return next.map_or(Writing::Done, Writing::Waits);
        }
        self.in_flight = headers.as_ref().map(HeaderBatch::scope);
        let given = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(Job { headers, files }).is_ok());
        if !given {
            return self.lose(now);
        }
        self.busy = true;
        Writing::Busy
    }

    /// Ends the thread after its job.
    pub(super) fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // How its last job ended is told by `ends`.
            let _ = thread.join();
        }
    }

    fn ends(&mut self) -> &mut mpsc::Receiver<JobEnd> {
        self.ends.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_end(&mut self, tree: &HeaderTree, now: Moment, end: JobEnd) {
        self.busy = false;
        let scope = self.in_flight.take();
        match end.headers {
            None => {}
            Some(Ok(BatchEnd::Written)) => self.of_headers.end(HEADERS),
            Some(Ok(BatchEnd::Damaged)) => self.headers.start_anew(tree),
            Some(Err(error)) => {
                if let Some(scope) = scope {
                    self.headers.put_back(tree, scope);
                }
                let error = self.store_error(error);
                self.of_headers.begin(now, HEADERS, error);
            }
        }
        match end.error {
            Some(error) => self.of_files.begin(now, FILES, error),
            None if end.has_files => self.of_files.end(FILES),
            None => {}
        }
        for (file, text) in end.files {
            // What was noted meanwhile is newer.
            self.files.entry(file).or_insert(text);
        }
    }

    fn lose(&mut self, now: Moment) -> Writing {
        let error = self.store_error(StoreError::WriterGone);
        self.of_headers.begin(now, HEADERS, error);
        Writing::Gone
    }

    fn store_error(&self, error: StoreError) -> NodeError {
        NodeError::Store {
            path: self.store.clone(),
            error,
        }
    }
}

/// The thread: does one job after another until nobody can give it any.
fn write_all(
    mut store: HeaderStore,
    folder: &Folder,
    jobs: &mpsc::Receiver<Job>,
    ends: &mpsc::Sender<JobEnd>,
    ended: &watch::Sender<()>,
) {
    while let Ok(Job { headers, files }) = jobs.recv() {
        let mut end = JobEnd {
            headers: None,
            files: BTreeMap::new(),
            error: None,
            has_files: !files.is_empty(),
        };
        for (file, text) in files {
            if let Err(error) = file.write(folder, &text) {
                end.files.insert(file, text);
                end.error = Some(error);
            }
        }
        end.headers = headers.map(|headers| store.write(headers));
        if ends.send(end).is_err() {
            break;
        }
        ended.send_replace(());
    }
}
