//! Work on passwords, off the async threads (SPEC P1, P2): fingerprints, policy, hashing, comparing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};

use super::hashing::{Hasher, Hashers};
use super::{Input, Observer};
use crate::model::{CanonicalAddress, PasswordPolicy, Phc, ResourceKey, Secret};
use crate::plan::desired::{Offer, Work};
use crate::store::{KnownPasswords, Store};

/// As many ask the store at a time: on a slow one thousands would leave no connection to anybody else.
const ASKING: usize = 2;

/// The key under which fingerprints are made; the store never sees it.
#[derive(Debug, Clone)]
pub struct FingerprintKey {
    pub id: String,
    pub key: Secret<Vec<u8>>,
}

impl FingerprintKey {
    /// Wraps a key; its id is the beginning of its own digest.
    #[must_use]
    pub fn new(key: Vec<u8>) -> Self {
        use sha2::Digest as _;
        let id = Sha256::digest([b"mailroster fingerprint key id:", key.as_slice()].concat());
        Self { id: crate::model::hex(id.get(..8).unwrap_or_default()), key: Secret::new(key) }
    }

    /// HMAC-SHA-256 over the address, which is the row's identity (A3), and the value: equal values of two users look different.
    fn fingerprint(&self, address: &CanonicalAddress, value: &[u8]) -> Vec<u8> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.expose()) else { return Vec::new() };
        mac.update(address.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(value);
        mac.finalize().into_bytes().to_vec()
    }
}

/// Values seen, and what became of the work on them.
pub(super) struct Passwords {
    key: FingerprintKey,
    store: Store,
    inbox: mpsc::Sender<Input>,
    observer: Arc<dyn Observer>,
    turns: Arc<Semaphore>,
    hashers: Hashers,
    values: BTreeMap<ResourceKey, (Vec<u8>, Secret<Vec<u8>>)>,
    done: BTreeMap<ResourceKey, (Task, Work)>,
    busy: BTreeMap<ResourceKey, Task>,
}

/// What a value is judged by, besides the store's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `format: Argon2`.
    pub hashed: bool,
    pub policy: PasswordPolicy,
    pub history: u32,
}

/// A value and its rules: under others the same value is another task, so that a refusal ends with the rule that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    fingerprint: Vec<u8>,
    rules: Rules,
}

/// One value to be worked on.
struct Job {
    value: Secret<Vec<u8>>,
    rules: Rules,
    known: KnownPasswords,
    key_id: String,
}

impl Passwords {
    pub fn new(key: FingerprintKey, store: Store, inbox: mpsc::Sender<Input>, observer: Arc<dyn Observer>) -> Self {
        let (turns, hashers) = (Arc::new(Semaphore::new(ASKING)), Hashers::default());
        Self { key, store, inbox, observer, turns, hashers, values: BTreeMap::new(), done: BTreeMap::new(), busy: BTreeMap::new() }
    }

    /// By what a connection knows the values of its Secrets again: under the key, so that the store, where it is kept, tells nothing of them.
    pub fn mark(&self, connection: &ResourceKey, values: &[&Secret<Vec<u8>>]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.key.expose()) else { return String::new() };
        mac.update(connection.to_string().as_bytes());
        for value in values {
            let value = value.expose();
            mac.update(&(value.len() as u64).to_be_bytes());
            mac.update(value);
        }
        crate::model::hex(&mac.finalize().into_bytes())
    }

    /// What a Secret's value offers.
    pub fn offer(&mut self, resource: &ResourceKey, address: &CanonicalAddress, value: &Secret<Vec<u8>>, rules: Rules) -> Offer {
        let task = Task { fingerprint: self.key.fingerprint(address, value.expose()), rules };
        self.values.insert(resource.clone(), (task.fingerprint.clone(), value.clone()));
        let work = self.done.get(resource).filter(|(of, _)| *of == task).map_or(Work::Open, |(_, work)| work.clone());
        Offer::Value { fingerprint: task.fingerprint, key_id: self.key.id.clone(), work }
    }

    pub fn worked(&mut self, resource: &ResourceKey, task: Task, work: Work) {
        // What was overtaken by another value or other rules tells nothing any more.
        if self.busy.get(resource) == Some(&task) {
            self.busy.remove(resource);
            self.done.insert(resource.clone(), (task, work));
        }
    }

    /// The hash is in the store, or the resource is gone: nothing of it needs to be kept here.
    pub fn in_force(&mut self, resource: &ResourceKey) {
        self.done.remove(resource);
        self.values.remove(resource);
    }

    /// Begins the work that a plan asked for; the result comes back as an input.
    pub fn begin(&mut self, resource: &ResourceKey, address: &CanonicalAddress, rules: Rules) {
        let Some((fingerprint, value)) = self.values.get(resource).cloned() else { return };
        let task = Task { fingerprint, rules: rules.clone() };
        if self.busy.get(resource) == Some(&task) {
            return;
        }
        self.busy.insert(resource.clone(), task.clone());
        let (store, inbox, observer) = (self.store.clone(), self.inbox.clone(), self.observer.clone());
        let (turns, hashers) = (self.turns.clone(), self.hashers.clone());
        let (resource, address, key_id) = (resource.clone(), address.clone(), self.key.id.clone());
        tokio::spawn(async move {
            let asked = async {
                let _turn = turns.acquire().await;
                store.known_passwords(&address, rules.history).await
            };
            let known = match asked.await {
                Ok(known) => known,
                Err(error) => {
                    tracing::warn!(%error, "the store can't be asked for a password's history; trying again");
                    let _ = inbox.send(Input::Worked { key: resource, task, work: Work::Open }).await;
                    return;
                }
            };
            let job = Job { value, rules, known, key_id };
            let work = hashers.lend(move |hasher| {
                let began = Instant::now();
                (job.run(hasher), began.elapsed())
            });
            let (work, took) = work.await.unwrap_or((Work::Open, Duration::ZERO));
            let result = match &work {
                Work::Open => "failed",
                Work::Hashed { .. } => "hashed",
                Work::Same => "same",
                Work::Refused(_) => "refused",
            };
            observer.password(result, took);
            crate::fault::reach("hashed");
            let _ = inbox.send(Input::Worked { key: resource, task, work }).await;
        });
    }
}

impl Job {
    fn run(&self, hasher: &mut Hasher) -> Work {
        if self.rules.hashed { self.take_hash() } else { self.hash(hasher) }
    }

    /// `format: Argon2`.
    fn take_hash(&self) -> Work {
        let text = match std::str::from_utf8(self.value.expose()) {
            Ok(text) if text.ends_with(['\n', '\r']) => {
                return Work::Refused("the value ends in a line break; write the Secret without one (printf, echo -n)".to_owned());
            }
            Ok(text) => text,
            Err(_) => return Work::Refused("the value is not an argon2id PHC string".to_owned()),
        };
        match Phc::parse(text) {
            Err(error) => Work::Refused(error.to_string()),
            Ok(phc) if self.known.hashes().any(|hash| hash == phc.as_str()) => Work::Same,
            // What it was made of nobody knows.
            Ok(phc) => Work::Hashed { phc: phc.as_str().to_owned(), ascii: true },
        }
    }

    /// `format: Plain`.
    fn hash(&self, hasher: &mut Hasher) -> Work {
        // P2: under another key, or none, a fingerprint says nothing; the value itself is compared, once.
        let stranger = self.known.key_id.as_deref().is_some_and(|id| id != self.key_id);
        let value = self.value.expose();
        if stranger && self.known.hashes().any(|hash| hasher.verifies(value, hash)) {
            return Work::Same;
        }
        let text = match self.rules.policy.check(&self.value) {
            Ok(text) => text,
            Err(rule) => return Work::Refused(rule.to_string()),
        };
        let history = self.known.history.iter().map(String::as_str).take(self.rules.history as usize);
        let current = (self.rules.history > 0).then(|| self.known.hashes()).into_iter().flatten();
        if history.chain(current).any(|hash| hasher.verifies(value, hash)) {
            return Work::Refused(format!("the password was used before; the last {} are refused", self.rules.history));
        }
        hasher.hash(text.as_bytes()).map_or(Work::Open, |phc| Work::Hashed { phc, ascii: text.is_ascii() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(value: &str, known: KnownPasswords) -> Job {
        let policy = crate::plan::settings::Settings::default().password;
        let rules = Rules { hashed: value.starts_with('$'), policy, history: 2 };
        Job { value: Secret::new(value.as_bytes().to_vec()), rules, known, key_id: "now".to_owned() }
    }

    fn hashed(value: &str) -> String {
        match job(value, KnownPasswords::default()).run(&mut Hasher::default()) {
            Work::Hashed { phc, .. } => phc,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn p2_a_new_password_becomes_an_argon2id_hash_within_the_bounds() {
        let hash = hashed("Correct-Horse-7");
        assert!(Phc::parse(&hash).is_ok(), "{hash}");
        assert!(Hasher::default().verifies(b"Correct-Horse-7", &hash));
    }

    #[test]
    fn p1_letters_beyond_ascii_are_noticed() {
        let ascii =
            |value: &str| matches!(job(value, KnownPasswords::default()).run(&mut Hasher::default()), Work::Hashed { ascii: true, .. });
        assert!(ascii("Correct-Horse-7") && !ascii("Gr\u{fc}ne-Horse-77"));
    }

    #[test]
    fn p2_under_an_unknown_key_the_value_is_compared_with_what_is_stored() {
        let known =
            KnownPasswords { declared: Some(hashed("Correct-Horse-7")), key_id: Some("lost".to_owned()), ..KnownPasswords::default() };
        assert_eq!(job("Correct-Horse-7", known.clone()).run(&mut Hasher::default()), Work::Same);
        assert!(matches!(job("Correct-Horse-8", known).run(&mut Hasher::default()), Work::Hashed { .. }));
    }

    #[test]
    fn p4_a_password_of_the_history_is_refused() {
        let known =
            KnownPasswords { key_id: Some("now".to_owned()), history: vec![hashed("Correct-Horse-7")], ..KnownPasswords::default() };
        assert!(matches!(job("Correct-Horse-7", known).run(&mut Hasher::default()), Work::Refused(rule) if rule.contains("used before")));
    }

    #[test]
    fn p1_a_monstrous_hash_costs_nothing() {
        let monster = "$argon2id$v=19$m=16777216,t=2,p=1$c29tZXNhbHQxMjM0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        assert!(matches!(job(monster, KnownPasswords::default()).run(&mut Hasher::default()), Work::Refused(_)));
        assert!(!Hasher::default().verifies(b"x", monster));
    }
}
