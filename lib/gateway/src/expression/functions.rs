//! The functions of the language. `cel` knows more; what is not listed here is not promised.

use super::parse::HAS;

/// What is wrong with a call, if anything is.
pub(super) fn wrong(name: &str, member: bool, args: usize) -> Option<String> {
    if name.starts_with(['_', '@', '!', '-']) && name != HAS {
        return None;
    }
    let name = if name == HAS { "has" } else { name };
    let call = format!("{}{name}", if member { "." } else { "" });
    let known: Vec<_> = FUNCTIONS.iter().filter(|(known, ..)| *known == name).collect();
    if known.is_empty() {
        let mut names: Vec<_> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        names.dedup();
        return Some(format!("unknown function `{call}`, there are {}", names.join(", ")));
    }
    let fits = known.iter().any(|(_, as_member, arity, by_cel)| *as_member == member && *arity == args && *by_cel);
    if fits {
        return None;
    }
    let mut forms: Vec<_> = known.iter().map(|(name, member, arity, _)| form(name, *member, *arity)).collect();
    forms.dedup();
    let plural = if args == 1 { "" } else { "s" };
    Some(format!("`{call}` with {args} argument{plural}, it is {}", forms.join(" or ")))
}

fn form(name: &str, member: bool, arity: usize) -> String {
    let loops = matches!(name, "all" | "exists" | "exists_one" | "filter" | "map");
    let args: Vec<_> = (0..arity).map(|index| if loops && index == 0 { "name" } else { "_" }).collect();
    format!("{}{name}({})", if member { "x." } else { "" }, args.join(", "))
}

/// Name, whether it is a method, arguments, and whether a tree may hold it: the parser makes loops of the others, so
/// that a call which is left over was written wrong.
const FUNCTIONS: &[(&str, bool, usize, bool)] = &[
    ("all", true, 2, false),
    ("bool", false, 1, true),
    ("bytes", false, 1, true),
    ("contains", true, 1, true),
    ("double", false, 1, true),
    ("endsWith", true, 1, true),
    ("exists", true, 2, false),
    ("exists_one", true, 2, false),
    ("filter", true, 2, false),
    ("has", false, 1, false),
    ("int", false, 1, true),
    ("map", true, 2, false),
    ("map", true, 3, false),
    ("matches", true, 1, true),
    ("matches", false, 2, true),
    ("size", false, 1, true),
    ("size", true, 0, true),
    ("startsWith", true, 1, true),
    ("string", false, 1, true),
    ("uint", false, 1, true),
];
