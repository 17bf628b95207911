//! Servers as foreground children that end with the process that started them, even when it is killed.
//!
//! Linux sends a child its parent-death signal when the *thread* that spawned it ends, and a test's thread ends with the test.
//! So one thread that lives as long as the process spawns them all, through `setpriv --pdeathsig`.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(30);

/// A running server, its log in a file. Dropping it kills it.
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What to start.
pub struct Start<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Standard output and standard error go to `NAME.log` in this folder, behind what is there.
    pub log_folder: &'a Path,
    /// The signal it gets when this process ends: KILL, or what makes it end its own children first.
    pub death_signal: &'a str,
    /// Run as this user (only root can).
    pub user: Option<&'a str>,
}

impl Server {
    pub fn start(start: Start<'_>) -> Self {
        let Start { name, program, arguments, environment, log_folder, death_signal, user } = start;
        let log = log_folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("open a log file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", death_signal]);
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--init-groups"]);
        }
        command
            .arg("--")
            .arg(program)
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone a file handle"))
            .stderr(file)
            .process_group(0); // Ctrl-C goes to us, and we end it in order
        let child = spawn(command).unwrap_or_else(|error| panic!("failed to start {name} through setpriv (util-linux): {error}"));
        Self { name: name.to_owned(), child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where the log is, for a person.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The log's last lines, for a message.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(30);
        format!("the end of {}'s log:\n    {}", self.name, lines[last..].join("\n    "))
    }

    /// Sends a signal by name ("TERM", "STOP"). The shell's `kill` is there on every machine, and needs no unsafe code.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.pid())]).stderr(Stdio::null()).status();
        assert!(sent.is_ok(), "failed to run sh");
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(begun.elapsed() < deadline, "{} did not end within {deadline:?}; {}", self.name, self.tail());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `probe` says it is ready. A server that ends meanwhile, or is too slow, is an error with the end of its log.
    pub async fn ready(&mut self, deadline: Duration, mut probe: impl AsyncFnMut(&Self) -> bool) -> Result<(), String> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exited() {
                return Err(format!("{} ended ({status}) before it was ready; {}", self.name, self.tail()));
            }
            if probe(self).await {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(format!("{} was not ready within {deadline:?}; {}", self.name, self.tail()));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Spawns on the one thread that never ends.
fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    let _asker_gone = reply.send(command.spawn());
                }
            })
            .expect("start a thread");
        requests
    });
    let (reply, answer) = mpsc::channel();
    SPAWNER.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

/// Ports that are free now, all different. Another process may take one before its server does: whoever starts one tries again.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [_; N] = std::array::from_fn(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound address").port())
}
