//! The API server: new enough, our kinds served in this version's shape, and our rights.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::{Findings, rights};
use crate::api::{crds, names};
use crate::cli::failure::OrFailed as _;
use crate::cli::{Failure, cluster};

/// The oldest API server (SPEC, before 1): selectable fields, CEL functions.
const OLDEST: (u32, u32) = (1, 32);
/// Questions at a time.
const AT_ONCE: usize = 16;

pub(super) async fn check(findings: &mut Findings, system: Option<String>, namespaces: &[String]) -> Result<(), Failure> {
    let (client, context) = cluster::connect().await?;
    version(findings, &client).await?;
    kinds(findings, &client).await?;
    let everywhere = [String::new()];
    let watched = if namespaces.is_empty() { &everywhere[..] } else { namespaces };
    for namespace in watched {
        let lacking = lacking(&client, namespace, rights::cluster()).await?;
        let place = if namespace.is_empty() { "all namespaces".to_owned() } else { format!("namespace {namespace}") };
        tell(findings, &lacking, &place, "ClusterRole", None)?;
    }
    let system = system.unwrap_or(context);
    let lacking_there = lacking(&client, &system, rights::system()).await?;
    tell(findings, &lacking_there, &format!("the system namespace {system}"), "Role", Some(&system))?;
    for namespace in namespaces {
        if !lacking(&client, namespace, rights::secret_reader()).await?.is_empty() {
            let reader = rights::SECRET_READER;
            findings
                .note(format!("passwords of namespace {namespace} can't be read; a RoleBinding to ClusterRole {reader} there allows it"));
        }
    }
    Ok(())
}

async fn version(findings: &mut Findings, client: &Client) -> Result<(), Failure> {
    let version = client.apiserver_version().await.or_failed("ask the API server for its version")?;
    // Some distributions write "32+".
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or_default();
    if (number(&version.major), number(&version.minor)) >= OLDEST {
        findings.fine(format!("the API server has version {}", version.git_version));
    } else {
        let (major, minor) = OLDEST;
        findings.missing(format!("the API server has version {}; {major}.{minor} or newer is needed", version.git_version));
    }
    Ok(())
}

async fn kinds(findings: &mut Findings, client: &Client) -> Result<(), Failure> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut apply = false;
    for ours in crds() {
        let name = ours.metadata.name.clone().unwrap_or_default();
        let found = match api.get_opt(&name).await {
            Ok(found) => found,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                findings.missing(format!("the kind {} can't be looked at: {}", ours.spec.names.kind, status.message));
                continue;
            }
            Err(error) => return Err(Failure::to(format_args!("read the CustomResourceDefinition {name}"), error)),
        };
        match found {
            None => findings.missing(format!("the kind {} is not installed", ours.spec.names.kind)),
            Some(found) if !is_served(&found) => {
                findings.missing(format!("the kind {} is installed, but not served", ours.spec.names.kind));
            }
            Some(found) if !same_shape(&found, &ours) => {
                findings.missing(format!("the kind {} is not of this version's shape", ours.spec.names.kind));
            }
            Some(_) => {
                findings.fine(format!("the kind {} is served", ours.spec.names.kind));
                continue;
            }
        }
        apply = true;
    }
    if apply {
        findings.remedy("# install the kinds of this version:\n#   mailroster crds | kubectl apply --server-side -f -");
    }
    Ok(())
}

fn is_served(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// The schema and what is selectable; the API server adds to the rest.
fn same_shape(found: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> bool {
    let ours = ours.spec.versions.iter().find(|version| version.name == names::VERSION);
    let found = found.spec.versions.iter().find(|version| version.name == names::VERSION);
    found.zip(ours).is_some_and(|(found, ours)| {
        found.served
            && found.schema == ours.schema
            && found.selectable_fields == ours.selectable_fields
            && found.subresources == ours.subresources
    })
}

/// The rules, cut down to what the API server says we may not do. An empty namespace means all.
async fn lacking(client: &Client, namespace: &str, rules: Vec<PolicyRule>) -> Result<Vec<PolicyRule>, Failure> {
    let questions = rules.iter().flat_map(|rule| questions(namespace, rule)).map(|question| ask(client, question));
    let refused: Vec<_> = stream::iter(questions).buffered(AT_ONCE).try_filter_map(|refused| async { Ok(refused) }).try_collect().await?;
    let mut lacking: Vec<PolicyRule> = Vec::new();
    for refused in refused {
        let rule = PolicyRule {
            api_groups: Some(vec![refused.group.unwrap_or_default()]),
            resources: Some(vec![match refused.subresource {
                Some(subresource) => format!("{}/{subresource}", refused.resource.unwrap_or_default()),
                None => refused.resource.unwrap_or_default(),
            }]),
            resource_names: refused.name.map(|name| vec![name]),
            verbs: Vec::new(),
            ..PolicyRule::default()
        };
        let verb = refused.verb.unwrap_or_default();
        match lacking.iter_mut().find(|known| PolicyRule { verbs: Vec::new(), ..(*known).clone() } == rule) {
            Some(known) => known.verbs.push(verb),
            None => lacking.push(PolicyRule { verbs: vec![verb], ..rule }),
        }
    }
    Ok(lacking)
}

fn questions(namespace: &str, rule: &PolicyRule) -> Vec<ResourceAttributes> {
    let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let names: Vec<Option<String>> = match &rule.resource_names {
        Some(names) => names.iter().cloned().map(Some).collect(),
        None => vec![None],
    };
    let mut questions = Vec::new();
    for group in listed(&rule.api_groups) {
        for resource in listed(&rule.resources) {
            let (resource, subresource) = match resource.split_once('/') {
                Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
                None => (resource, None),
            };
            for (name, verb) in names.iter().flat_map(|name| rule.verbs.iter().map(move |verb| (name, verb))) {
                questions.push(ResourceAttributes {
                    namespace: Some(namespace.to_owned()).filter(|_| !is_cluster_wide(&resource)),
                    group: Some(group.clone()),
                    resource: Some(resource.clone()),
                    subresource: subresource.clone(),
                    name: name.clone(),
                    verb: Some(verb.clone()),
                    ..ResourceAttributes::default()
                });
            }
        }
    }
    questions
}

/// What belongs to no namespace.
fn is_cluster_wide(resource: &str) -> bool {
    matches!(resource, "namespaces" | "customresourcedefinitions")
}

/// The question itself, when the answer is no.
async fn ask(client: &Client, question: ResourceAttributes) -> Result<Option<ResourceAttributes>, Failure> {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(question.clone()), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answered = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await;
    let answered = answered.or_failed("ask the API server for our rights (SelfSubjectAccessReview)")?;
    Ok(if answered.status.is_some_and(|status| status.allowed) { None } else { Some(question) })
}

/// Says what is lacking in one place, with the YAML that grants it.
fn tell(findings: &mut Findings, lacking: &[PolicyRule], place: &str, kind: &str, namespace: Option<&str>) -> Result<(), Failure> {
    if lacking.is_empty() {
        findings.fine(format!("the rights in {place} are there"));
        return Ok(());
    }
    for rule in lacking {
        let what = rule.resources.iter().flatten().chain(rule.resource_names.iter().flatten());
        let what = what.map(String::as_str).collect::<Vec<_>>().join(" ");
        findings.missing(format!("the right to {} {what} in {place}", rule.verbs.join(", ")));
    }
    let mut metadata = json!({"name": format!("{}-missing", rights::ROLE)});
    if let (Some(namespace), Some(metadata)) = (namespace, metadata.as_object_mut()) {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": lacking});
    let yaml = serde_yaml::to_string(&role).or_failed("write YAML")?;
    findings.remedy(format!("---\n# bind it to the controller's ServiceAccount, or add its rules to a role that is\n{yaml}"));
    Ok(())
}
