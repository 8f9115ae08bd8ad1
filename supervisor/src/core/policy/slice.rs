//! The policies that can apply to one action, found by the principals and resources that they name, so that what a
//! decision costs does not depend on how many policies there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{Entity, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint};

/// Combinations of principals and resources whose policies are kept together.
const KEPT: usize = 1024;

/// Whom a policy's scope names as principal and as resource; none for everybody and everything.
type Key = (Option<EntityUid>, Option<EntityUid>);

/// All policies of one action. Every one stands in it as a `permit`, whatever it says: evaluated as such, Cedar names
/// each that applies, where otherwise a `forbid` would hide what permits.
pub(super) struct Slice {
    pub(super) action: EntityUid,
    pub(super) entity: Entity,
    named: HashMap<Key, Vec<Policy>>,
    kept: Mutex<HashMap<Vec<Key>, Arc<PolicySet>>>,
}

impl Slice {
    pub(super) fn new(action: EntityUid, entity: Entity) -> Self {
        Self { action, entity, named: HashMap::new(), kept: Mutex::default() }
    }

    /// Adds a policy, as a `permit`.
    pub(super) fn add(&mut self, policy: &Policy) -> Result<(), String> {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::In(uid)
            | PrincipalConstraint::IsIn(_, uid) => Some(uid),
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                Some(uid)
            }
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        };
        self.named.entry((principal, resource)).or_default().push(permitting(policy)?);
        Ok(())
    }

    /// The policies that can apply: those that name nobody, the principal or resource itself, or one that it is in.
    pub(super) fn of(
        &self,
        principals: &[EntityUid],
        resources: &[EntityUid],
    ) -> Result<Arc<PolicySet>, String> {
        let each = |uids: &[EntityUid]| -> Vec<Option<EntityUid>> {
            std::iter::once(None).chain(uids.iter().cloned().map(Some)).collect()
        };
        let resources = each(resources);
        let mut keys: Vec<Key> = Vec::new();
        for principal in each(principals) {
            let pairs = resources.iter().map(|resource| (principal.clone(), resource.clone()));
            keys.extend(pairs.filter(|key| self.named.contains_key(key)));
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = kept.get(&keys) {
            return Ok(Arc::clone(set));
        }
        let mut set = PolicySet::new();
        for policy in keys.iter().filter_map(|key| self.named.get(key)).flatten() {
            set.add(policy.clone()).map_err(|error| error.to_string())?;
        }
        let set = Arc::new(set);
        // Names are the agents' to choose: full means from the beginning, not without end.
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(keys, Arc::clone(&set));
        Ok(set)
    }
}

fn permitting(policy: &Policy) -> Result<Policy, String> {
    let mut text = policy.to_json().map_err(|error| error.to_string())?;
    if let Some(effect) = text.get_mut("effect") {
        *effect = "permit".into();
    }
    let id: PolicyId = policy.id().clone();
    Policy::from_json(Some(id), text).map_err(|error| error.to_string())
}
