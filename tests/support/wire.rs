//! The wire to a server: a TCP proxy in front of its unix socket that is slow, silent, torn or garbled, as a test orders. It knows nothing of
//! what it carries.
//!
//! Its tasks live in the runtime of the test that started it, and end with it.

use super::dice::Dice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// What is taken up at once: more than any one request, so that a delay falls on each request once.
const CHUNK: usize = 1 << 20;

pub struct Wire {
    port: u16,
    orders: watch::Sender<Orders>,
    opened: Arc<AtomicU64>,
}

/// What holds now. Connections are numbered as they come.
#[derive(Clone, Copy, Default)]
struct Orders {
    /// What each request waits before it goes on.
    delay: Duration,
    /// Nothing goes on; the connections stay open, and new ones are accepted.
    silent: bool,
    /// Connections below this number are closed.
    cut: u64,
    /// Connections below this number stay open, and nothing of theirs goes on any more.
    forgotten: u64,
    /// The most that a connection carries before it is closed, in both directions together; 0: no limit. How much it is, chance decides.
    most_bytes: u64,
    /// Of so many answers one comes with a bit turned over, where chance has it; 0: none.
    garbled: u64,
}

impl Wire {
    /// Starts one on a free port, in front of the server that listens on `socket`.
    pub async fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let orders = watch::Sender::new(Orders::default());
        let opened = Arc::new(AtomicU64::new(0));
        tokio::spawn(accept(listener, socket.to_owned(), orders.subscribe(), opened.clone()));
        Self { port, orders, opened }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Each request waits so long before it reaches the server.
    pub fn slow(&self, delay: Duration) {
        self.orders.send_modify(|orders| orders.delay = delay);
    }

    /// Nothing goes on, for as long as it holds.
    pub fn silent(&self, silent: bool) {
        self.orders.send_modify(|orders| orders.silent = silent);
    }

    /// Closes every connection there is.
    pub fn cut(&self) {
        let opened = self.opened();
        self.orders.send_modify(|orders| orders.cut = opened);
    }

    /// Loses every connection there is, as a firewall that has forgotten them: they stay open and nothing goes on. New ones work.
    pub fn forget(&self) {
        let opened = self.opened();
        self.orders.send_modify(|orders| orders.forgotten = opened);
    }

    /// From now on new connections are closed in the middle of whatever they carry, after at most so many bytes; 0 ends it.
    pub fn tear(&self, most_bytes: u64) {
        self.orders.send_modify(|orders| orders.most_bytes = most_bytes);
    }

    /// From now on one of so many answers has a bit turned over; 0 ends it.
    pub fn garble(&self, one_of: u64) {
        self.orders.send_modify(|orders| orders.garbled = one_of);
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, orders: watch::Receiver<Orders>, opened: Arc<AtomicU64>) {
    let dice = Mutex::new(None);
    while let Ok((client, _)) = listener.accept().await {
        let number = opened.fetch_add(1, Ordering::SeqCst);
        let most = orders.borrow().most_bytes;
        let left = match most {
            0 => u64::MAX,
            // Evenly by size: most are torn early, and some carry much.
            most => {
                let mut dice = dice.lock().expect("dice");
                let dice = dice.get_or_insert_with(|| Dice::new("where connections are torn"));
                let doublings = dice.below(u64::from(most.ilog2()) + 1);
                dice.below((most >> doublings) + 1)
            }
        };
        let (socket, orders) = (socket.clone(), orders.clone());
        tokio::spawn(async move {
            let Ok(server) = UnixStream::connect(socket).await else { return };
            carry(client, server, number, left, orders).await;
        });
    }
}

/// Carries both directions until one of them ends.
async fn carry(client: TcpStream, server: UnixStream, number: u64, left: u64, orders: watch::Receiver<Orders>) {
    let left = AtomicU64::new(left);
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut buffer = vec![0; CHUNK];
        while from_client.readable().await.is_ok() {
            let delay = orders.borrow().delay;
            tokio::time::sleep(delay).await;
            passage(number, orders.clone()).await;
            match from_client.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(read) if !pass(&buffer[..read], &left, &mut to_server).await => return,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; CHUNK];
        let mut dice = Dice::with_seed(number);
        while from_server.readable().await.is_ok() {
            passage(number, orders.clone()).await;
            match from_server.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    let one_of = orders.borrow().garbled;
                    if one_of > 0 && dice.below(one_of) == 0 {
                        let place = usize::try_from(dice.below(read as u64)).expect("within the answer");
                        buffer[place] ^= 1 << dice.below(8);
                    }
                    if !pass(&buffer[..read], &left, &mut to_client).await {
                        return;
                    }
                }
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    let mut cut = orders.clone();
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _ = cut.wait_for(|orders| number < orders.cut) => {}
    }
}

/// Waits until something may go on.
async fn passage(number: u64, mut orders: watch::Receiver<Orders>) {
    if orders.wait_for(|orders| !orders.silent && number >= orders.forgotten).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Hands on as much as the connection may still carry; false when that was its end.
async fn pass(bytes: &[u8], left: &AtomicU64, to: &mut (impl tokio::io::AsyncWrite + Unpin)) -> bool {
    let length = bytes.len() as u64;
    let before = left.load(Ordering::SeqCst);
    left.store(before.saturating_sub(length), Ordering::SeqCst);
    let allowed = usize::try_from(before.min(length)).expect("no longer than a chunk");
    to.write_all(&bytes[..allowed]).await.is_ok() && before > length
}
