//! The plain model: what the specification promises, said once more in a few sentences of its own, over what the API server lists and what the
//! store's tables and views hold. It knows less than the core and shares nothing with it.
//!
//! Where several resources want the same thing, any of them may have it; what a suspended resource holds is what it held. Names that are
//! now an address and now an alias are left to the pure model, and so is the domain that is deleted again and again.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{DOMAINS, STAFF, is_strict};
use crate::resources::{name, namespace};
use crate::world::World;
use mailroster::model::Kind;
use serde_json::Value;

type Pair = (String, String);

pub async fn judge(world: &World) -> Vec<String> {
    let differences = match Facts::read(world).await {
        Ok(facts) => facts.judge(world),
        Err(error) => vec![error],
    };
    differences.into_iter().take(40).map(|difference| format!("plain model: {difference}")).collect()
}

/// What there is, in texts.
struct Facts {
    resources: Vec<(Kind, Value)>,
    /// Address to the rest of its row: namespace, owner, is_alias, display_name, disabled, attributes, archive_start, smtp, pop.
    rows: BTreeMap<String, Vec<Option<String>>>,
    /// Kind, namespace and name of whoever owns something.
    owners: BTreeSet<(String, String, String)>,
    /// What mail servers see.
    pairs: BTreeSet<Pair>,
    aliases: BTreeMap<String, String>,
    members: BTreeMap<String, Pair>,
}

impl Facts {
    async fn read(world: &World) -> Result<Self, String> {
        let rows = "SELECT ARRAY[canonical, namespace, owner, is_alias::text, display_name, disabled::text, attributes::text,
            archive_start::text, smtp_submission::text, pop::text] FROM mailroster.address";
        let owners = "SELECT ARRAY['EmailAddress', namespace, owner] FROM mailroster.address WHERE owner IS NOT NULL
            UNION SELECT ARRAY['InternalDomain', namespace, owner] FROM mailroster.domain WHERE owner IS NOT NULL
            UNION SELECT ARRAY['AliasLink', namespace, owner] FROM mailroster.link WHERE owner IS NOT NULL
            UNION SELECT ARRAY['DelegateMailbox', namespace, owner] FROM mailroster.delegation WHERE owner IS NOT NULL
            UNION SELECT ARRAY['AdminRole', namespace, name] FROM mailroster.role WHERE owned
            UNION SELECT ARRAY['AccountSettings', namespace, owner] FROM mailroster.settings";
        let pairs = "SELECT ARRAY[reader, mailbox] FROM gateway.archive_reader_v1 WHERE NOT includes_private";
        let aliases = "SELECT ARRAY[alias, primary_address] FROM gateway.alias_v1";
        let members = "SELECT ARRAY[a.canonical, r.namespace, r.name] FROM mailroster.role_member m
            JOIN mailroster.role r ON r.id = m.role_id JOIN mailroster.address a ON a.id = m.address_id";
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let two = |row: &Vec<Option<String>>| (text(&row[0]), text(&row[1]));
        // The directory's tenant is judged by itself.
        let is_ours =
            |row: &Vec<Option<String>>| !row.iter().flatten().any(|text| text.ends_with(STAFF) || *text == world.directory.namespace);
        Ok(Self {
            resources: world.resources.list_all().await?,
            rows: world.rows(rows).await?.into_iter().filter(is_ours).map(|mut row| (text(&row.remove(0)), row)).collect(),
            owners: world
                .rows(owners)
                .await?
                .iter()
                .filter(|row| is_ours(row))
                .map(|row| (text(&row[0]), text(&row[1]), text(&row[2])))
                .collect(),
            pairs: world.rows(pairs).await?.iter().filter(|row| is_ours(row)).map(two).collect(),
            aliases: world.rows(aliases).await?.iter().filter(|row| is_ours(row)).map(two).collect(),
            members: world
                .rows(members)
                .await?
                .iter()
                .filter(|row| is_ours(row))
                .map(|row| (text(&row[0]), (text(&row[1]), text(&row[2]))))
                .collect(),
        })
    }

    fn judge(&self, world: &World) -> Vec<String> {
        let mut wrong = Vec::new();
        for address in world.retained.union(&world.learned) {
            if !self.rows.contains_key(address) {
                wrong.push(format!("{address} was in force, was never purged, and is gone"));
            }
        }
        for (kind, namespace, owner) in &self.owners {
            if self.resource(kind, namespace, owner).is_none() {
                wrong.push(format!("something is owned by {kind} {namespace}/{owner}, which does not exist"));
            }
        }
        self.judge_addresses(world, &mut wrong);
        self.judge_pairs(world, &mut wrong);
        self.judge_aliases(world, &mut wrong);
        self.judge_members(&mut wrong);
        wrong
    }

    fn resource(&self, kind: &str, of: &str, named: &str) -> Option<&Value> {
        self.of(kind).find(|object| namespace(object) == of && name(object) == named)
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.resources.iter().filter(move |(each, _)| each.as_str() == kind).map(|(_, object)| object)
    }

    /// Those that want the same, by what they want: `fields` of their specs. None where one of them is suspended.
    fn wanted<'a>(&'a self, world: &World, kind: &'a str, fields: &[&str]) -> BTreeMap<String, Option<Vec<&'a Value>>> {
        let mut found: BTreeMap<String, Option<Vec<&Value>>> = BTreeMap::new();
        for object in self.of(kind) {
            let what: Vec<String> = fields.iter().map(|field| lower(&object["spec"][*field])).collect();
            let home = DOMAINS.iter().find(|(domain, _)| what[0].ends_with(&format!("@{domain}"))).map(|(_, home)| *home);
            // Another tenant's claim counts for nothing (D1).
            if home.is_none_or(|home| world.namespaces[home] != namespace(object)) || !what.iter().all(|what| is_strict(what)) {
                continue;
            }
            let claimants = found.entry(what.join(" ")).or_insert_with(|| Some(Vec::new()));
            match claimants {
                Some(claimants) if object["spec"]["suspend"] != true => claimants.push(object),
                claimants => *claimants = None,
            }
        }
        found
    }

    fn judge_addresses(&self, world: &World, wrong: &mut Vec<String>) {
        for (address, claimants) in self.wanted(world, "EmailAddress", &["address"]) {
            let Some(claimants) = claimants.filter(|_| address.starts_with(['u', 's'])) else { continue };
            let Some(row) = self.rows.get(&address) else {
                wrong.push(format!("{address} is declared and does not exist"));
                continue;
            };
            let owner = claimants.iter().find(|object| Some(name(object)) == row[1].as_deref());
            let Some(owner) = owner else {
                if row[1].is_some() || claimants.iter().any(|object| object["spec"]["adoptionPolicy"] != "Fail") {
                    wrong.push(format!("{address} is declared and its owner is {:?}", row[1]));
                }
                continue;
            };
            let spec = &owner["spec"];
            let declared = [
                (&spec["displayName"], 3),
                (&spec["disabled"], 4),
                (&spec["archiveStartDate"], 6),
                (&spec["access"]["smtpSubmission"], 7),
                (&spec["access"]["pop"], 8),
            ];
            for (value, column) in declared {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                if !value.is_null() && row[column].as_deref() != Some(text.as_str()) {
                    wrong.push(format!("{address} is declared with {text} and has {:?}", row[column]));
                }
            }
            let attributes: Value = row[5].as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            for (attribute, value) in spec["attributes"].as_object().into_iter().flatten() {
                if attributes[attribute] != *value {
                    wrong.push(format!("{address} is declared with {attribute}={value} and has {attributes}"));
                }
            }
        }
    }

    /// True for an address that may have rights: there, of the namespace, and no alias.
    fn is_mailbox(&self, address: &str, of: &str) -> bool {
        self.rows.get(address).is_some_and(|row| row[0].as_deref() == Some(of) && row[2].as_deref() == Some("false"))
    }

    fn judge_pairs(&self, world: &World, wrong: &mut Vec<String>) {
        for (pair, claimants) in self.wanted(world, "DelegateMailbox", &["reader", "mailbox"]) {
            let (Some(claimants), Some((reader, mailbox))) = (claimants, pair.split_once(' ')) else { continue };
            let may = claimants.first().is_some_and(|object| {
                let of = namespace(object);
                self.is_mailbox(reader, of) && self.is_mailbox(mailbox, of)
            });
            let sees = self.pairs.contains(&(reader.to_owned(), mailbox.to_owned()));
            if may && reader != mailbox && !sees {
                wrong.push(format!("{reader} is declared to read {mailbox} and does not"));
            }
        }
        for (reader, mailbox) in &self.pairs {
            let declares = |object: &&Value| {
                let spec = &object["spec"];
                spec["suspend"] == true || (lower(&spec["reader"]) == *reader && lower(&spec["mailbox"]) == *mailbox)
            };
            if !self.of("DelegateMailbox").any(|object| declares(&object)) {
                wrong.push(format!("{reader} reads {mailbox} and nobody declares it"));
            }
        }
    }

    fn judge_aliases(&self, world: &World, wrong: &mut Vec<String>) {
        for (alias, claimants) in self.wanted(world, "AliasLink", &["alias"]) {
            let Some(claimants) = claimants else { continue };
            let good = |object: &&&Value| {
                let spec = &object["spec"];
                let primary = lower(&spec["primary"]);
                let near = primary.split('@').nth(1) == alias.split('@').nth(1) || spec["crossDomain"] == true;
                primary != alias && near && is_strict(&primary) && self.is_mailbox(&primary, namespace(object))
            };
            // One that waits or is refused may hold the claim of an older age.
            if claimants.is_empty() || !claimants.iter().all(|object| good(&object)) {
                continue;
            }
            let primaries: Vec<String> = claimants.iter().map(|object| lower(&object["spec"]["primary"])).collect();
            if self.aliases.get(&alias).is_none_or(|primary| !primaries.contains(primary)) {
                wrong.push(format!("{alias} is declared an alias of {primaries:?} and is one of {:?}", self.aliases.get(&alias)));
            }
        }
        for (alias, primary) in self.aliases.iter().filter(|(alias, _)| !alias.starts_with("postmaster@") && !alias.starts_with("abuse@")) {
            let declares = |object: &Value| {
                let spec = &object["spec"];
                spec["suspend"] == true || (lower(&spec["alias"]) == *alias && lower(&spec["primary"]) == *primary)
            };
            if !self.of("AliasLink").any(declares) {
                wrong.push(format!("{alias} is an alias of {primary} and nobody declares it"));
            }
        }
    }

    fn judge_members(&self, wrong: &mut Vec<String>) {
        let names = |object: &Value, address: &str| {
            object["spec"]["members"].as_array().is_some_and(|members| members.iter().any(|member| lower(member) == address))
        };
        for (address, (of, role)) in &self.members {
            let declares = self.resource("AdminRole", of, role).is_some_and(|o| o["spec"]["suspend"] == true || names(o, address));
            if !declares {
                wrong.push(format!("{address} is a member of {role} and nobody declares it"));
            }
        }
        for object in self.of("AdminRole").filter(|object| object["spec"]["suspend"] != true) {
            for member in object["spec"]["members"].as_array().into_iter().flatten().map(lower) {
                let may = is_strict(&member) && self.is_mailbox(&member, namespace(object));
                if may && !self.members.contains_key(&member) {
                    wrong.push(format!("{member} is declared a member of {} and is in no role", name(object)));
                }
            }
        }
    }
}

fn lower(text: &Value) -> String {
    text.as_str().unwrap_or_default().to_lowercase()
}
