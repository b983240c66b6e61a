//! The rules as they are written: whom they grant what, and in which scope their requests are.

use super::{Grants, IdentityPattern, Verb};
use crate::code::{Code, Refusal, start_of};
use crate::id::Scope;
use crate::topic::TopicPattern;

/// Grants verbs on topics to identities: each of the verbs, on each of the topics, to each of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// To whom.
    pub identities: Vec<IdentityPattern>,
    /// What.
    pub verbs: Vec<Verb>,
    /// On which topics.
    pub topics: Vec<TopicPattern>,
}

impl Rule {
    fn selects(&self, identity: &str) -> bool {
        self.identities.iter().any(|p| p.matches(identity))
    }
}

/// All rules. What none of them grants is not granted; without any, nothing is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    rules: Vec<Rule>,
    /// The first that selects an identity counts.
    scopes: Vec<(String, Vec<IdentityPattern>)>,
}

impl Rights {
    /// Adds a rule.
    pub fn allow(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Has identities name their requests in a scope, unless they were given one before. Several
    /// may share one.
    ///
    /// # Errors
    /// [`Code::BadConfig`]: it is no name, or it and one that is there have the same number, so that
    /// they would be one scope.
    pub fn set_scope(
        &mut self,
        name: &str,
        identities: Vec<IdentityPattern>,
    ) -> Result<(), Refusal> {
        Scope::check_name(name)?;
        let scope = Scope::named(name);
        let others = self.scopes.iter().map(|(other, _)| other.as_str());
        let clash = others
            .chain([Scope::DEFAULT_NAME])
            .find(|other| *other != name && Scope::named(other) == scope);
        if let Some(other) = clash {
            let message = format!(
                "the scopes {:?} and {other:?} have the same number, {}: give one of them another name",
                start_of(name),
                scope.0
            );
            return Err(Refusal::new(Code::BadConfig, message));
        }
        self.scopes.push((name.to_owned(), identities));
        Ok(())
    }

    /// What an identity is granted.
    pub fn grants(&self, identity: &str) -> Grants {
        Grants::of(self.rules.iter().filter(|rule| rule.selects(identity)))
    }

    /// The scope in which an identity names its requests.
    pub fn scope(&self, identity: &str) -> Scope {
        let selected = self
            .scopes
            .iter()
            .find(|(_, identities)| identities.iter().any(|p| p.matches(identity)));
        selected.map_or_else(Scope::default, |(name, _)| Scope::named(name))
    }
}
