//! Whether a text is an LDAP filter (RFC 4515). Which entries it means only the server knows; that it can be sent is judged here.

use super::ldap_names::is_attribute;

/// How deep filters may stand in filters: the parser goes down with them.
const DEEPEST: usize = 50;

/// What is wrong with a filter, and where; None of it: it is one.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut parser = Parser { text, at: 0 };
    parser.filter(0)?;
    match parser.rest() {
        "" => Ok(()),
        rest => Err(format!("{} is left over after its end", quoted(rest))),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn takes(&mut self, sign: char) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    fn filter(&mut self, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} filters stand in each other"));
        }
        if !self.takes('(') {
            return Err(match self.rest() {
                "" => "a parenthesis is missing, as in (mail=*)".to_owned(),
                rest => format!("an opening parenthesis is missing before {}", quoted(rest)),
            });
        }
        if self.takes('&') || self.takes('|') {
            self.filter(depth + 1)?;
            while self.rest().starts_with('(') {
                self.filter(depth + 1)?;
            }
        } else if self.takes('!') {
            self.filter(depth + 1)?;
        } else {
            self.item()?;
        }
        if self.takes(')') {
            return Ok(());
        }
        Err(match self.rest() {
            "" => "a closing parenthesis is missing at the end".to_owned(),
            rest => format!("a closing parenthesis is missing before {}", quoted(rest)),
        })
    }

    /// A comparison: `mail=*`, `cn=a*b`, `age>=18`, `cn:dn:caseExactMatch:=a`.
    fn item(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let end = rest.find(['(', ')']).unwrap_or(rest.len());
        let whole = rest.get(..end).unwrap_or_default();
        let Some((left, value)) = whole.split_once('=') else {
            return Err(format!("{} compares nothing; write it as (mail=*)", quoted(whole)));
        };
        let exact = if let Some(left) = left.strip_suffix(':') {
            extensible(left)?;
            true
        } else {
            let name = left.strip_suffix(['<', '>', '~']).unwrap_or(left);
            attribute(name)?;
            name != left
        };
        check_value(value, exact)?;
        self.at += end;
        Ok(())
    }
}

/// What stands before `:=`: an attribute or a matching rule, or both.
fn extensible(text: &str) -> Result<(), String> {
    let (name, rules) = text.split_once(':').map_or((text, None), |(name, rules)| (name, Some(rules)));
    if !name.is_empty() {
        attribute(name)?;
    }
    match rules.map(|rules| rules.strip_prefix("dn:").unwrap_or(rules)) {
        None if name.is_empty() => Err(format!("{} names neither an attribute nor a matching rule", quoted(text))),
        // `cn:dn:=a`
        Some("dn") if !name.is_empty() => Ok(()),
        Some(rule) => attribute(rule),
        None => Ok(()),
    }
}

fn attribute(name: &str) -> Result<(), String> {
    if is_attribute(name) { Ok(()) } else { Err(format!("{} is no name of an attribute", quoted(name))) }
}

/// `exact`: a star has no meaning in it.
fn check_value(value: &str, exact: bool) -> Result<(), String> {
    if value.contains('\0') {
        return Err("a NUL character must be written as \\00".to_owned());
    }
    let mut rest = value.as_bytes();
    while let Some(place) = rest.iter().position(|byte| *byte == b'\\') {
        let digits = rest.get(place + 1..place + 3).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!(
                "a backslash in {} is not followed by two hexadecimal digits; write a backslash itself as \\5c",
                quoted(value)
            ));
        }
        rest = rest.get(place + 3..).unwrap_or_default();
    }
    if exact && value.contains('*') {
        return Err(format!("a star in {} has no meaning there; write it as \\2a", quoted(value)));
    }
    if value.contains("**") {
        return Err(format!("two stars follow each other in {}", quoted(value)));
    }
    Ok(())
}

/// The beginning of a text: messages stay short.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() { format!("{shown:?}...") } else { format!("{shown:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_directories_know_are_filters() {
        for text in [
            "(mail=*)",
            "(cn=)",
            "(cn=a*b*c)",
            "(&(objectClass=person)(!(mail=*))(|(age>=18)(age<=3)(cn~=ann)))",
            "(userAccountControl:1.2.840.113556.1.4.803:=2)",
            "(cn:dn:caseExactMatch:=Ann)",
            "(cn:dn:=Ann)",
            "(cn:=Ann)",
            "(:dn:2.4.6.8.10:=Ann)",
            "(:caseExactMatch:=Ann)",
            "(description;lang-de=Größe)",
            r"(cn=\28x\29 \2a \5c)",
            "(cn=a=b)",
            "(memberOf=cn=staff,dc=corp,dc=example)",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_said() {
        for (text, expected) in [
            ("mail=*", "an opening parenthesis is missing before \"mail=*\""),
            ("(mail=*", "a closing parenthesis is missing at the end"),
            ("(&(mail=*)(cn=a)", "a closing parenthesis is missing at the end"),
            ("(mail=*))", "\")\" is left over after its end"),
            ("(mail=*)(cn=*)", "\"(cn=*)\" is left over"),
            ("(&)", "an opening parenthesis is missing before \")\""),
            ("(!(mail=*)(cn=*))", "a closing parenthesis is missing before \"(cn=*))\""),
            ("(& (mail=*))", "an opening parenthesis is missing before \" (mail=*))\""),
            ("()", "\"\" compares nothing"),
            ("(mail)", "\"mail\" compares nothing"),
            ("(=x)", "\"\" is no name of an attribute"),
            ("( mail=*)", "\" mail\" is no name of an attribute"),
            ("(1a=x)", "\"1a\" is no name of an attribute"),
            ("(:=x)", "names neither an attribute nor a matching rule"),
            ("(cn:a b:=x)", "\"a b\" is no name"),
            (r"(cn=\)", "not followed by two hexadecimal digits"),
            (r"(cn=\2)", "not followed by two hexadecimal digits"),
            (r"(cn=\zz)", "not followed by two hexadecimal digits"),
            (r"(cn=\2ä)", "not followed by two hexadecimal digits"),
            ("(cn=a\0)", "NUL"),
            ("(cn=a**b)", "two stars"),
            ("(cn>=a*)", "has no meaning there"),
            ("", "a parenthesis is missing, as in (mail=*)"),
        ] {
            let fault = check(text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        assert!(check(&("(!".repeat(2000) + "(a=b)" + &")".repeat(2000))).unwrap_err().contains("more than 50 filters"));
    }
}
