//! Whether a policy acts, only watches, or rests; and what those that watch would have refused.

use crate::refusal::Refusal;

/// The mode of one use of a policy; every policy that refuses has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// It decides, and what it refuses is refused.
    #[default]
    Enforce,
    /// It decides and is recorded, and everything passes.
    Shadow,
    /// It is not asked.
    Off,
}

impl Mode {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    /// What a policy proved: asked unless it is off, and `None` where it was not or where it refuses in shadow, which is
    /// taken down.
    ///
    /// # Errors
    /// What the policy refuses with, where it is enforced.
    pub fn ask<T>(
        self,
        shadowed: &mut Shadowed,
        policy: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        match self {
            Self::Off => Ok(None),
            Self::Enforce => policy().map(Some),
            Self::Shadow => Ok(policy().map_err(|refusal| shadowed.refusal(&refusal)).ok()),
        }
    }
}

/// What policies in shadow would have refused of one request, in the order they were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadowed(Vec<Shadow>);

/// One refusal that did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its reason code.
    pub code: &'static str,
    /// Its own words, for the log alone.
    pub detail: String,
}

impl Shadowed {
    /// Takes down a refusal.
    pub fn refusal(&mut self, refusal: &Refusal) {
        self.note(refusal.code(), refusal.to_string());
    }

    /// Takes down what is no refusal of the gateway's but has a client turn away.
    pub fn note(&mut self, code: &'static str, detail: String) {
        self.0.push(Shadow { code, detail });
    }

    /// Takes down what another list holds.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// What was taken down.
    pub fn all(&self) -> &[Shadow] {
        &self.0
    }

    /// The codes, each once.
    pub fn codes(&self) -> Vec<&'static str> {
        let mut codes = Vec::new();
        for Shadow { code, .. } in &self.0 {
            if !codes.contains(code) {
                codes.push(*code);
            }
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse() -> Result<u8, Refusal> {
        Err(Refusal::EdgeRequired)
    }

    #[test]
    fn enforce_refuses_shadow_takes_down_and_off_does_not_ask() {
        let mut shadowed = Shadowed::default();
        assert!(matches!(Mode::Enforce.ask(&mut shadowed, refuse), Err(Refusal::EdgeRequired)));
        assert!(matches!(Mode::Off.ask::<u8>(&mut shadowed, || unreachable!("it is off")), Ok(None)));
        assert_eq!(shadowed, Shadowed::default());
        assert!(matches!(Mode::Shadow.ask(&mut shadowed, refuse), Ok(None)));
        assert_eq!(shadowed.codes(), ["edge_required"]);
    }

    #[test]
    fn what_passes_is_given_back_and_leaves_nothing() {
        let mut shadowed = Shadowed::default();
        for mode in [Mode::Enforce, Mode::Shadow] {
            assert_eq!(mode.ask(&mut shadowed, || Ok(7)).ok().flatten(), Some(7));
        }
        assert_eq!(shadowed, Shadowed::default());
    }

    #[test]
    fn a_code_is_told_once_and_in_the_order_asked() {
        let mut shadowed = Shadowed::default();
        for code in ["b", "a", "b"] {
            shadowed.note(code, String::new());
        }
        assert_eq!(shadowed.codes(), ["b", "a"]);
        assert_eq!(shadowed.all().len(), 3);
    }
}
