//! The users of Basic authentication: lines of `name:hash`, as `htpasswd -B` and `argon2` write them.

use std::collections::BTreeMap;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};

/// The most users of one file.
const MOST: usize = 10_000;

/// The longest name, in bytes.
pub(super) const LONGEST_NAME: usize = 255;

/// The most of bcrypt's cost: one check takes a second of a small function.
const MOST_COST: u32 = 14;

/// Below it guessing is cheap, as what `htpasswd -B` takes by itself is.
const FAIR_COST: u32 = 10;

/// The most memory of one argon2 hash, in KiB, its passes, and its lanes.
const MOST_MEMORY: u32 = 64 * 1024;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 4;

/// The longest password that bcrypt reads to its end; what comes after would be free to guess.
const BCRYPT_READS: usize = 72;

/// Users by name, at least one.
pub(super) struct Users {
    by_name: BTreeMap<String, Hash>,
    /// What a name that is not there is checked against: the hash of the most work.
    dearest: Hash,
}

/// One password, hashed.
#[derive(Clone)]
pub(super) enum Hash {
    Bcrypt { cost: u32, text: Box<str> },
    Argon2 { params: Params, salt: Box<[u8]>, hash: Box<[u8]> },
}

impl Users {
    /// The users of a file.
    ///
    /// # Errors
    /// The first line that is wrong, without a part of it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
        let mut by_name = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", at + 1);
            let (name, hash) = line.split_once(':').ok_or_else(|| wrong("it must be name:hash"))?;
            if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
                return Err(wrong("the name must have 1 to 255 bytes, and no control character"));
            }
            let hash = Hash::parse(hash).map_err(|why| wrong(&why))?;
            if by_name.insert(name.to_owned(), hash).is_some() {
                return Err(wrong("the user is there twice"));
            }
            if by_name.len() > MOST {
                return Err(format!("there are more than {MOST} users"));
            }
        }
        let dearest = by_name.values().max_by_key(|hash| hash.work()).ok_or("it has no user")?.clone();
        Ok(Self { by_name, dearest })
    }

    /// Whether this is the user's password. A user that is not there takes as long as the one that takes longest.
    pub(super) fn verify(&self, name: &str, password: &[u8]) -> bool {
        match self.by_name.get(name) {
            Some(hash) => hash.verify(password),
            None => {
                self.dearest.verify(password);
                false
            }
        }
    }

    /// A user whose password is cheap to guess for who has the file.
    pub(super) fn weak(&self) -> Option<&str> {
        let weak = |hash: &Hash| matches!(hash, Hash::Bcrypt { cost, .. } if *cost < FAIR_COST);
        self.by_name.iter().find(|(_, hash)| weak(hash)).map(|(name, _)| name.as_str())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_name.len()
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("$2y$") || text.starts_with("$2b$") {
            return Self::bcrypt(text);
        }
        if text.starts_with("$argon2id$") {
            return Self::argon2(text);
        }
        let scheme = match text {
            _ if text.starts_with("$apr1$") || text.starts_with("$1$") => "MD5",
            _ if text.starts_with("{SHA}") => "SHA-1",
            _ if text.starts_with("$argon2") => "argon2, but not argon2id",
            _ if text.starts_with("$2") => "an old bcrypt",
            _ => "none that is known",
        };
        Err(format!("the hash is {scheme}, and must be bcrypt ($2y$ or $2b$, `htpasswd -B -C 10`) or argon2id"))
    }

    fn bcrypt(text: &str) -> Result<Self, String> {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| "the hash is no whole bcrypt hash".to_owned())?;
        let cost = parts.get_cost();
        if cost > MOST_COST {
            return Err(format!("bcrypt's cost is {cost}, and at most {MOST_COST} is taken: `htpasswd -B -C 10`"));
        }
        Ok(Self::Bcrypt { cost, text: text.into() })
    }

    fn argon2(text: &str) -> Result<Self, String> {
        let form = || "the hash is no whole argon2id hash".to_owned();
        let parsed = PasswordHash::new(text).map_err(|_| form())?;
        let params = Params::try_from(&parsed).map_err(|_| form())?;
        let (salt, hash) = parsed.salt.zip(parsed.hash).ok_or_else(form)?;
        if parsed.version != Some(Version::V0x13.into()) {
            return Err("the hash is of an old version of argon2".to_owned());
        }
        let within = params.m_cost() <= MOST_MEMORY && params.t_cost() <= MOST_PASSES && params.p_cost() <= MOST_LANES;
        if !within {
            return Err(format!(
                "argon2 takes m={}, t={}, p={}, at most {MOST_MEMORY} (KiB), {MOST_PASSES} and {MOST_LANES} are taken",
                params.m_cost(),
                params.t_cost(),
                params.p_cost()
            ));
        }
        Ok(Self::Argon2 { params, salt: salt.as_ref().into(), hash: hash.as_bytes().into() })
    }

    /// About how long it takes, in microseconds.
    fn work(&self) -> u64 {
        match self {
            Self::Bcrypt { cost, .. } => 50_000 << cost.saturating_sub(10).min(8) >> 10_u32.saturating_sub(*cost),
            Self::Argon2 { params, .. } => u64::from(params.m_cost()) * u64::from(params.t_cost()),
        }
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { text, .. } => {
                // It does its work on what is too long, too, so that time does not tell of it.
                let read = password.get(..BCRYPT_READS).unwrap_or(password);
                bcrypt::verify(read, text).unwrap_or(false) && read.len() == password.len() && !password.contains(&0)
            }
            Self::Argon2 { params, salt, hash } => {
                let mut made = vec![0; hash.len()];
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                argon2.hash_password_into(password, salt, &mut made).is_ok() && crate::edge::equal(hash, &made)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bob` is a test of argon2's own (its `test.c`), the others are made by libxcrypt; the costs are little.
    const FILE: &str = include_str!("../../../testdata/config/good/staff.htpasswd");

    #[test]
    fn the_password_of_a_user_is_right_and_no_other() {
        let users = Users::parse(FILE.as_bytes()).expect("users");
        assert_eq!((users.len(), users.weak()), (3, Some("ann")));
        for (name, password, right) in [
            ("ann", "correct horse", true),
            ("bob", "password", true),
            ("zoë", "pässwörd", true),
            ("ann", "password", false),
            ("ann", "correct horse\0", false),
            ("ann", "", false),
            ("Ann", "correct horse", false),
            ("eve", "correct horse", false),
            ("", "", false),
        ] {
            assert_eq!(users.verify(name, password.as_bytes()), right, "{name} {password:?}");
        }
    }

    #[test]
    fn what_bcrypt_would_not_read_is_no_password() {
        let long = "x".repeat(BCRYPT_READS);
        let users = Users::parse(format!("ann:{}", bcrypt::hash(&long, 4).expect("a hash")).as_bytes()).expect("users");
        assert!(users.verify("ann", long.as_bytes()));
        assert!(!users.verify("ann", format!("{long}y").as_bytes()));
    }

    #[test]
    fn what_is_weak_dear_or_broken_is_refused_by_its_line_and_never_shown() {
        let bcrypt = "$2y$08$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";
        let argon2 = "$argon2id$v=19$m=1024,t=2,p=1$c29tZXNhbHRzYWx0$A6v0Iiu1kBXyCSyxCUbWQAlDUEj8sRWYFhqk8bR0CYc";
        for (hash, why) in [
            ("hunter2", "none that is known"),
            ("$apr1$hunter2$", "MD5"),
            ("{SHA}hunter2", "SHA-1"),
            ("$2a$08$hunter2", "an old bcrypt"),
            ("$2y$08$hunter2", "no whole bcrypt"),
            (&bcrypt.replace("$08$", "$15$"), "cost is 15"),
            ("$argon2i$v=19$m=1024,t=2,p=1$c29tZXNhbHRzYWx0$A6v0Iiu1", "not argon2id"),
            ("$argon2id$hunter2", "no whole argon2id"),
            (&argon2.replace("m=1024", "m=65537"), "m=65537"),
            (&argon2.replace("t=2", "t=11"), "t=11"),
            (&argon2.replace("p=1", "p=5"), "p=5"),
            (&argon2.replace("v=19", "v=16"), "old version"),
        ] {
            let problem = Users::parse(format!("# staff\n\nann:{hash}\n").as_bytes()).err().expect("refused");
            assert!(problem.starts_with("line 3: ") && problem.contains(why), "{hash}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        for (file, why) in [("", "no user"), ("ann", "name:hash"), (":x", "the name"), ("#", "no user")] {
            assert!(Users::parse(file.as_bytes()).err().expect("refused").contains(why), "{file}");
        }
        let twice = format!("ann:{bcrypt}\nann:{bcrypt}");
        assert!(Users::parse(twice.as_bytes()).err().expect("refused").contains("line 2: the user is there twice"));
    }
}
