//! argon2id, and the memory it fills (SPEC P2).
//!
//! The memory of a hash is kept for the next one. Given back each time it would not go back to the system: the allocator keeps it by the
//! thread that asked for it, and hashes run on whichever thread is free, so that after some hundred of them all threads had their share.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};

use crate::model::Phc;

/// What new hashes cost: OWASP's first choice for argon2id, within P1's bounds.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// Hashers that nobody uses; never more than were in use at a time.
#[derive(Clone, Default)]
pub(super) struct Hashers(Arc<Mutex<Vec<Hasher>>>);

impl Hashers {
    pub fn lend<T>(&self, work: impl FnOnce(&mut Hasher) -> T) -> T {
        let idle = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = idle().pop().unwrap_or_default();
        let outcome = work(&mut hasher);
        idle().push(hasher);
        outcome
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
        let hashers = Hashers::default();
        let hash = hashers.lend(|hasher| hasher.hash(b"Correct-Horse-7")).unwrap();
        assert!(Argon2::default().verify_password(b"Correct-Horse-7", &PasswordHash::new(&hash).unwrap()).is_ok());
        for (value, fits) in [("Correct-Horse-7", true), ("Correct-Horse-8", false)] {
            assert_eq!(hashers.lend(|hasher| hasher.verifies(value.as_bytes(), &hash)), fits);
        }
        let costly = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQxMjM0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        assert!(!hashers.lend(|hasher| hasher.verifies(b"x", costly)));
        let idle = hashers.0.lock().unwrap();
        assert_eq!(idle.iter().map(|hasher| hasher.memory.capacity()).collect::<Vec<_>>(), [MEMORY_KIB as usize]);
    }
}
