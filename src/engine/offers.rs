//! What Secrets offer those who take something from them (SPEC P1, P3): a password, or the way into a directory.

use super::passwords::Rules;
use super::{Engine, SecretView, Surroundings};
use crate::model::{Kind, ResourceKey, Secret, SecretKey};
use crate::plan::Subject;
use crate::plan::desired::{Declared, Offer, SecretState, Violation};
use crate::plan::reason::Reason;

impl<S: Surroundings> Engine<S> {
    pub(super) fn users_of_secret(&mut self, namespace: &str, name: &str) -> Vec<ResourceKey> {
        let uses = |declared: &Declared| declared.secrets().iter().any(|secret| secret == name);
        let Some(users) = self.secret_users.get_mut(&(namespace.to_owned(), name.to_owned())) else { return Vec::new() };
        users.retain(|key| self.roster.get(key).is_some_and(|resource| resource.declared.as_ref().is_ok_and(uses)));
        users.iter().cloned().collect()
    }

    /// Fills in what the Secret offers a resource now.
    pub(super) fn offer(&mut self, key: &ResourceKey) {
        let Some(resource) = self.roster.get(key) else { return };
        let Ok(Declared::Address(declared)) = &resource.declared else { return };
        let Some(password) = &declared.password else { return };
        let view = self.secrets.get(&(key.namespace.clone(), password.secret.clone()));
        let offer = match view {
            None => Offer::Unread,
            Some(SecretView::Forbidden(message)) => Offer::Missing(message.clone()),
            // One that is made without the label later is not noticed: only those that carry it are watched (P1).
            Some(SecretView::Absent) => Offer::Missing(format!(
                "the Secret {} does not exist; it is taken as soon as it is there with the label mailroster.dev/readable=true",
                password.secret
            )),
            Some(SecretView::Unlabelled) => Offer::NotReadable(format!(
                "the Secret {} is not meant for mailroster; set the label: kubectl label secret {} mailroster.dev/readable=true",
                password.secret, password.secret
            )),
            Some(SecretView::Values(values)) => match values.get(&password.key) {
                None => Offer::Missing(format!("the Secret {} has no key {:?}", password.secret, password.key)),
                Some(value) => {
                    let rules = self.rules(&key.namespace, password.hashed);
                    self.passwords.offer(key, declared.address.canonical(), value, rules)
                }
            },
        };
        self.roster.set_offer(key, offer);
    }

    /// Another policy may take what the last one refused: the plan that brings it into force looks at each value anew.
    pub(super) fn offer_by_policy(&mut self, settings: &ResourceKey) {
        if settings.kind == Kind::AccountSettings {
            for key in self.roster.dependents(&Subject::Settings(settings.namespace.clone())) {
                self.offer(&key);
            }
        }
    }

    pub(super) fn rules(&self, namespace: &str, hashed: bool) -> Rules {
        let settings = self.roster.settings(namespace);
        Rules { hashed, policy: settings.password, history: settings.history }
    }

    /// Tells a connection whether its Secrets can be had (P1, Y9).
    pub(super) fn offer_to_connection(&mut self, key: &ResourceKey) {
        let Some(resource) = self.roster.get(key) else { return };
        let Ok(Declared::Connection(declared)) = &resource.declared else { return };
        let secrets = std::iter::once(&declared.access.bind_password).chain(&declared.access.ca);
        let values = secrets.map(|secret| value_of(secret, self.secrets.get(&(key.namespace.clone(), secret.name.clone()))));
        let state = match values.collect::<Result<Vec<_>, _>>() {
            Ok(values) => SecretState::Ready(self.passwords.mark(key, &values)),
            Err(why_not) => why_not,
        };
        self.roster.set_connection_secrets(key, state);
    }
}

/// What a Secret says under a key, or why nobody knows.
fn value_of<'v>(secret: &SecretKey, view: Option<&'v SecretView>) -> Result<&'v Secret<Vec<u8>>, SecretState> {
    let refuse = |reason, message: String| Err(SecretState::Refused(Violation::new(reason, message)));
    match view {
        None => Err(SecretState::Unread),
        Some(SecretView::Forbidden(message)) => refuse(Reason::SecretNotFound, message.clone()),
        Some(SecretView::Absent) => refuse(
            Reason::SecretNotFound,
            format!(
                "the Secret {} does not exist; it is taken as soon as it is there with the label mailroster.dev/readable=true",
                secret.name
            ),
        ),
        Some(SecretView::Unlabelled) => refuse(
            Reason::SecretNotReadable,
            format!(
                "the Secret {0} is not meant for mailroster; set the label: kubectl label secret {0} mailroster.dev/readable=true",
                secret.name
            ),
        ),
        Some(SecretView::Values(values)) => match values.get(&secret.key) {
            Some(value) => Ok(value),
            None => refuse(Reason::SecretNotFound, format!("the Secret {} has no key {:?}", secret.name, secret.key)),
        },
    }
}
