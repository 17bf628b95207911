//! `mailroster release`: takes our finalizer off every resource and revokes nothing, so that uninstalling never hangs (SPEC U1).

use std::fmt::Write as _;

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::failure::OrFailed as _;
use super::{Failure, Outcome, cluster, operator};
use crate::api::{crds, names};

/// Patches at a time.
const AT_ONCE: usize = 16;
/// Objects a page.
const PAGE: u32 = 500;
/// Somebody else may change an object's finalizers while we do.
const ATTEMPTS: usize = 5;

/// Take mailroster's finalizer off its resources, revoking nothing
///
/// For uninstalling. Stop the controller first: it puts the finalizers back. Ends with status 1 when there was none to take off.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only in these namespaces, separated by commas [default: all]
    #[arg(long, env = "MAILROSTER_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    namespaces: Vec<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let (client, _) = cluster::connect().await?;
    let namespaces = operator::namespaces(arguments.namespaces);
    let mut text = String::new();
    for resource in kinds() {
        let released = if namespaces.is_empty() {
            release(&client, &resource, Api::all_with(client.clone(), &resource)).await?
        } else {
            let mut count = 0;
            for namespace in &namespaces {
                count += release(&client, &resource, Api::namespaced_with(client.clone(), namespace, &resource)).await?;
            }
            count
        };
        if released > 0 {
            let _ = writeln!(text, "{}: released {released}", resource.kind);
        }
    }
    Ok(if text.is_empty() { Outcome::findings("nothing to release\n") } else { Outcome::done(text) })
}

fn kinds() -> impl Iterator<Item = ApiResource> {
    crds().into_iter().map(|definition| {
        let kind = GroupVersionKind::gvk(names::GROUP, names::VERSION, &definition.spec.names.kind);
        ApiResource::from_gvk_with_plural(&kind, &definition.spec.names.plural)
    })
}

/// How many of what `api` lists had our finalizer and lost it here.
async fn release(client: &Client, resource: &ApiResource, api: Api<DynamicObject>) -> Result<usize, Failure> {
    let mut released = 0;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match api.list_metadata(&page).await {
            Ok(list) => list,
            // A kind that is not installed has nothing to release.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(released),
            Err(error) => return Err(Failure::to(format_args!("list {}", resource.plural), error)),
        };
        let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        let held = list.items.into_iter().filter(|object| position(object).is_some());
        let releases = stream::iter(held.map(|object| take_off(client, resource, object)));
        released += releases.buffer_unordered(AT_ONCE).try_fold(0, |sum, one| async move { Ok(sum + usize::from(one)) }).await?;
        let Some(token) = next else { return Ok(released) };
        page = page.continue_token(&token);
    }
}

fn position(object: &PartialObjectMeta<DynamicObject>) -> Option<usize> {
    object.finalizers().iter().position(|finalizer| finalizer == names::FINALIZER)
}

/// Whether this took the finalizer off. The patch says which place it means, and fails when another one moved there.
async fn take_off(client: &Client, resource: &ApiResource, mut object: PartialObjectMeta<DynamicObject>) -> Result<bool, Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, resource);
    let attempt = format!("take the finalizer off {} {namespace}/{name}", resource.kind);
    for _ in 0..ATTEMPTS {
        let Some(place) = position(&object) else { return Ok(false) };
        let pointer = format!("/metadata/finalizers/{place}");
        let patch = json!([{"op": "test", "path": pointer, "value": names::FINALIZER}, {"op": "remove", "path": pointer}]);
        let patch = serde_json::from_value(patch).or_failed(&attempt)?;
        match api.patch_metadata(&name, &PatchParams::default(), &Patch::<()>::Json(patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
            Err(kube::Error::Api(status)) if status.code == 422 || status.code == 409 => match api.get_metadata_opt(&name).await {
                Ok(Some(now)) => object = now,
                Ok(None) => return Ok(false),
                Err(error) => return Err(Failure::to(attempt, error)),
            },
            Err(error) => return Err(Failure::to(attempt, error)),
        }
    }
    Err(Failure::new(format!("failed to {attempt}: somebody else kept changing its finalizers")))
}
