//! Writes what the node keeps, in a thread of its own: headers, and small files for people.
//!
//! A disk may take seconds to say that something is on it. Nobody waits for that but the thread: a task notes what
//! changed, and has what waits copied and handed to the thread whenever it is free. What changes again before its turn
//! comes takes the place of what was noted before, so that what waits does not grow with time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::folder::Folder;
use super::known_servers;
use super::server_ways;
use super::store::{BatchEnd, HeaderBatch, HeaderChange, HeaderStore, StoreError, UnwrittenHeaders};
use crate::chain::HeaderTree;

/// The file that tells how the last sync went with each server.
pub(super) const LAST_SYNC: &str = "last-sync.json";

/// Most headers in a batch. Whoever copies them holds the tree meanwhile, which is for less than a millisecond; and sled
/// keeps all that a batch replaces until it is over: with 2,016 the process came to 68 MiB, with so many to 35.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(503);

/// A file that is replaced whole. Nothing is decided by it before the next start, so that the node goes on when it
/// can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SmallFile {
    LastSync,
    KnownServers,
    ServerWays,
}

impl SmallFile {
    fn write(self, folder: &Folder, text: &str) {
        match self {
            Self::LastSync => {
                if let Err(error) = folder.replace(LAST_SYNC, text) {
                    // What people read there is old, no more.
                    tracing::warn!("how the sync went is not written down: {error}");
                }
            }
            Self::ServerWays => {
                if let Err(error) = folder.replace(server_ways::FILE, text) {
                    // It is learnt anew the next time.
                    tracing::warn!("how fast the ways to the servers are is not written down: {error}");
                }
            }
            Self::KnownServers => {
                if let Err(error) = folder.replace(known_servers::FILE, text) {
                    tracing::warn!("new certificates are remembered no longer than this process lives: {error}");
                }
            }
        }
    }
}

/// What the thread is given at a time.
struct Job {
    headers: Option<HeaderBatch>,
    files: BTreeMap<SmallFile, String>,
}

/// How a job ended; `None` when no headers were among it.
type JobEnd = Option<Result<BatchEnd, StoreError>>;

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
    /// After this nothing is written any more.
    failed: Option<StoreError>,
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
    pub(super) fn open(store: HeaderStore, headers: UnwrittenHeaders, folder: Arc<Folder>) -> Result<Self, StoreError> {
        let (jobs, given) = mpsc::channel();
        let (told, ends) = mpsc::channel();
        let (signal, ended) = watch::channel(());
        let work = move || write_all(store, &folder, &given, &told, &signal);
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(work);
        Ok(Self {
            headers,
            files: BTreeMap::new(),
            jobs: Some(jobs),
            ends: Mutex::new(ends),
            busy: false,
            failed: None,
            ended,
            thread: Some(thread.map_err(|error| StoreError::Io(Arc::new(error)))?),
        })
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

    /// Takes down how the thread's job ended, and gives it the next one, without ever waiting. Returns whether anything
    /// is being written still.
    ///
    /// # Errors
    ///
    /// [`StoreError`] once headers can't be written, and ever after.
    pub(super) fn advance(&mut self, tree: &HeaderTree) -> Result<bool, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.busy {
            match self.ends().try_recv() {
                Ok(end) => self.on_end(tree, end)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Err(self.fail(StoreError::WriterGone)),
            }
        }
        let job = Job {
            headers: self.headers.next_batch(tree, BATCH),
            files: std::mem::take(&mut self.files),
        };
        if job.headers.is_none() && job.files.is_empty() {
            return Ok(false);
        }
        let given = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !given {
            return Err(self.fail(StoreError::WriterGone));
        }
        self.busy = true;
        Ok(true)
    }

    /// Writes all that waits, and returns when it is on the disk. It blocks the thread that calls.
    ///
    /// # Errors
    ///
    /// As [`Self::advance`].
    pub(super) fn finish(&mut self, tree: &HeaderTree) -> Result<(), StoreError> {
        while self.advance(tree)? {
            match self.ends().recv() {
                Ok(end) => self.on_end(tree, end)?,
                Err(mpsc::RecvError) => return Err(self.fail(StoreError::WriterGone)),
            }
        }
        Ok(())
    }

    /// Says whether an error was returned already.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
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

    fn on_end(&mut self, tree: &HeaderTree, end: JobEnd) -> Result<(), StoreError> {
        self.busy = false;
        match end {
            None | Some(Ok(BatchEnd::Written)) => Ok(()),
            Some(Ok(BatchEnd::Damaged)) => {
                self.headers.start_anew(tree);
                Ok(())
            }
            Some(Err(error)) => Err(self.fail(error)),
        }
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed = Some(error.clone());
        error
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
        for (file, text) in files {
            file.write(folder, &text);
        }
        let end = headers.map(|headers| store.write(headers));
        if ends.send(end).is_err() {
            break;
        }
        ended.send_replace(());
    }
}
