//! argon2id, and the memory it fills (SPEC P2).
//!
//! Hashes are computed on threads of their own, as many as there are cores and with a lower priority than everything else: ten thousand
//! passwords take minutes, and whoever revokes a right meanwhile must not wait for a core. Each thread keeps its memory for the next hash.
//! Given back each time it would not go back to the system.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};

use tokio::sync::oneshot;

use crate::model::Phc;

/// What new hashes cost: OWASP's first choice for argon2id, within P1's bounds.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// By how much hashing is nicer than the rest of the process.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce(&mut Hasher) + Send>;

/// The threads that hash; they end with the last clone.
#[derive(Clone)]
pub(super) struct Hashers(mpsc::Sender<Job>);

impl Default for Hashers {
    fn default() -> Self {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let waiting = waiting.clone();
            let thread = std::thread::Builder::new().name("hashing".to_owned()).spawn(move || hash_on(&waiting));
            if let Err(error) = thread {
                tracing::warn!(%error, "a thread for hashing could not be started");
            }
        }
        Self(jobs)
    }
}

impl Hashers {
    /// Has the work done when a thread is free; None when it could not be done.
    pub async fn lend<T: Send + 'static>(&self, work: impl FnOnce(&mut Hasher) -> T + Send + 'static) -> Option<T> {
        let (reply, done) = oneshot::channel();
        let job = move |hasher: &mut Hasher| {
            let _ = reply.send(work(hasher));
        };
        self.0.send(Box::new(job)).ok()?;
        done.await.ok()
    }
}

fn hash_on(waiting: &Mutex<mpsc::Receiver<Job>>) {
    // On Linux that is of this thread alone.
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "hashing goes with the priority of all else");
    }
    let mut hasher = Hasher::default();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A panic ends its own job: whoever waits for it hears that nothing came of it.
        if std::panic::catch_unwind(AssertUnwindSafe(|| job(&mut hasher))).is_err() {
            hasher = Hasher::default();
        }
    }
}

/// Memory for one hash at a time.
#[derive(Default)]
pub(super) struct Hasher {
    memory: Vec<Block>,
}

impl Hasher {
    /// A new PHC string; None when the machine has no chance to give.
    pub fn hash(&mut self, value: &[u8]) -> Option<String> {
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).ok()?;
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        getrandom::fill(&mut salt).ok()?;
        let hash = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).ok()?,
            salt: Some(Salt::new(&salt).ok()?),
            hash: Some(self.compute(params, value, &salt, Params::DEFAULT_OUTPUT_LEN)?),
        };
        Some(hash.to_string())
    }

    /// Compares a value with a hash from the store; a hash beyond P1's bounds is never computed.
    pub fn verifies(&mut self, value: &[u8], hash: &str) -> bool {
        let Some(parsed) = Phc::parse(hash).ok().and_then(|_| PasswordHash::new(hash).ok()) else { return false };
        let (Ok(params), Some(salt), Some(expected)) = (Params::try_from(&parsed), &parsed.salt, &parsed.hash) else { return false };
        // Outputs are compared in constant time.
        self.compute(params, value, salt, expected.len()).is_some_and(|output| output == *expected)
    }

    fn compute(&mut self, params: Params, value: &[u8], salt: &[u8], length: usize) -> Option<Output> {
        self.memory.resize(params.block_count(), Block::new());
        let mut output = vec![0; length];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let computed = argon2.hash_password_into_with_memory(value, salt, &mut output, self.memory.as_mut_slice());
        // What somebody else's costly hash took is not kept.
        self.memory.truncate(MEMORY_KIB as usize);
        self.memory.shrink_to(MEMORY_KIB as usize);
        computed.ok().and_then(|()| Output::new(&output).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordVerifier as _;

    #[test]
    fn p2_memory_is_used_again_and_hashes_are_those_of_the_library() {
        let mut hasher = Hasher::default();
        let hash = hasher.hash(b"Correct-Horse-7").unwrap();
        assert!(Argon2::default().verify_password(b"Correct-Horse-7", &PasswordHash::new(&hash).unwrap()).is_ok());
        for (value, fits) in [("Correct-Horse-7", true), ("Correct-Horse-8", false)] {
            assert_eq!(hasher.verifies(value.as_bytes(), &hash), fits);
        }
        let costly = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQxMjM0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        assert!(!hasher.verifies(b"x", costly));
        assert_eq!(hasher.memory.capacity(), MEMORY_KIB as usize);
    }

    #[tokio::test]
    async fn p2_hashing_gives_way_to_all_else_and_outlives_a_panic() {
        let hashers = Hashers::default();
        let threads = std::thread::available_parallelism().unwrap().get();
        for _ in 0..=threads {
            assert_eq!(hashers.lend(|_| -> u8 { panic!("a job that breaks") }).await, None);
        }
        let stat = hashers.lend(|_| std::fs::read_to_string("/proc/thread-self/stat")).await.unwrap().unwrap();
        // proc(5): the nice value is the 19th field; the name before it may have spaces.
        let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap();
        assert!(nice >= NICE, "{stat}");
    }
}
