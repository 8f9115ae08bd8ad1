//! The policies that can apply to one action, found by the principals and resources that they name, so that what a
//! decision costs does not depend on how many policies there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{
    Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint,
};

use super::asked::Thing;
use super::attributes::Needs;
use super::known::Known;
use super::request::Types;

/// Combinations of principals and resources whose policies are kept together.
const SETS_KEPT: usize = 1024;
/// Principals with what they act upon: ten busy agents with a few models and tools each.
const PAIRS_KEPT: usize = 128;

/// Whom a policy's scope names as principal and as resource; none for everybody and everything.
type Key = (Option<EntityUid>, Option<EntityUid>);

/// All policies of one action. Every one stands in it as a `permit`, whatever it says: evaluated as such, Cedar names
/// each that applies, where otherwise a `forbid` would hide what permits.
pub(super) struct Slice {
    pub(super) action: EntityUid,
    entity: Entity,
    named: HashMap<Key, Vec<(Policy, Needs)>>,
    sets: Mutex<HashMap<Vec<Key>, Arc<Policies>>>,
    pairs: Mutex<HashMap<(Thing, Thing), Arc<Pair>>>,
}

/// Policies that can apply, and what they look at.
pub(super) struct Policies {
    pub(super) set: PolicySet,
    pub(super) needs: Needs,
}

/// A principal and what it acts upon.
pub(super) struct Pair {
    pub(super) principal: EntityUid,
    pub(super) resource: EntityUid,
    pub(super) entities: Entities,
    pub(super) policies: Arc<Policies>,
    pub(super) known: Known,
}

impl Slice {
    pub(super) fn new(action: EntityUid, entity: Entity) -> Self {
        Self { action, entity, named: HashMap::new(), sets: Mutex::default(), pairs: Mutex::default() }
    }

    /// Adds a policy, as a `permit`.
    pub(super) fn add(&mut self, policy: &Policy, needs: &Needs) -> Result<(), String> {
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
        let of = self.named.entry((principal, resource)).or_default();
        of.push((permitting(policy)?, needs.clone()));
        Ok(())
    }

    /// Who acts and what is acted upon, with the policies that can apply.
    pub(super) fn pair(&self, types: &Types, things: (Thing, Thing)) -> Result<Arc<Pair>, String> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = pairs.get(&things) {
            return Ok(Arc::clone(pair));
        }
        let ((principal, principals), (resource, resources)) =
            (types.entity(&things.0)?, types.entity(&things.1)?);
        let policies = self.of(&principals, &resources)?;
        let (of, to) = (principal.uid(), resource.uid());
        let entities = Entities::from_entities([principal, resource, self.entity.clone()], None)
            .map_err(|error| error.to_string())?;
        let known = Known::default();
        let pair = Arc::new(Pair { principal: of, resource: to, entities, policies, known });
        // Names are the agents' to choose: full means from the beginning, not without end.
        if pairs.len() >= PAIRS_KEPT {
            pairs.clear();
        }
        pairs.insert(things, Arc::clone(&pair));
        Ok(pair)
    }

    /// The policies that can apply: those that name nobody, the principal or resource itself, or one that it is in.
    fn of(&self, principals: &[EntityUid], resources: &[EntityUid]) -> Result<Arc<Policies>, String> {
        let each = |uids: &[EntityUid]| -> Vec<Option<EntityUid>> {
            std::iter::once(None).chain(uids.iter().cloned().map(Some)).collect()
        };
        let resources = each(resources);
        let mut keys: Vec<Key> = Vec::new();
        for principal in each(principals) {
            let pairs = resources.iter().map(|resource| (principal.clone(), resource.clone()));
            keys.extend(pairs.filter(|key| self.named.contains_key(key)));
        }
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policies) = sets.get(&keys) {
            return Ok(Arc::clone(policies));
        }
        let (mut set, mut needs) = (PolicySet::new(), Needs::default());
        for (policy, its) in keys.iter().filter_map(|key| self.named.get(key)).flatten() {
            set.add(policy.clone()).map_err(|error| error.to_string())?;
            needs.add(its);
        }
        let policies = Arc::new(Policies { set, needs });
        if sets.len() >= SETS_KEPT {
            sets.clear();
        }
        sets.insert(keys, Arc::clone(&policies));
        Ok(policies)
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
