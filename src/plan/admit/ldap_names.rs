//! Names as directories have them: of attributes (RFC 4512), and distinguished ones (RFC 4514).

/// Whether a text names an attribute, with options or without: `mail`, `cn;lang-de`, `2.5.4.3`.
pub(super) fn is_attribute(text: &str) -> bool {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default();
    (is_word(name) || is_number(name)) && parts.all(|option| !option.is_empty() && option.bytes().all(is_letter))
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_letter)
}

/// An object identifier.
fn is_number(text: &str) -> bool {
    let part = |part: &str| part == "0" || (!part.is_empty() && !part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit()));
    text.contains('.') && text.split('.').all(part)
}

/// Whether a text is a distinguished name: parts with commas between them, each an attribute and its value. What a value may be is left
/// to the server.
pub(super) fn is_distinguished(text: &str) -> bool {
    parts(text).iter().all(|part| {
        let Some((name, value)) = part.split_once('=') else { return false };
        is_attribute(name.trim()) && !value.trim().is_empty()
    })
}

/// Splits at the commas that no backslash and no quotation marks take their meaning from.
fn parts(text: &str) -> Vec<String> {
    let (mut found, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => part.extend(std::iter::once(sign).chain(signs.next())),
            ',' | ';' if !quoted => found.push(std::mem::take(&mut part)),
            sign => {
                quoted ^= sign == '"';
                part.push(sign);
            }
        }
    }
    found.push(part);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_names_or_numbers_and_maybe_options() {
        for text in ["mail", "msExchHideFromAddressLists", "x-1", "2.5.4.3", "0.9.2342.19200300.100.1.3", "cn;lang-de;x-y"] {
            assert!(is_attribute(text), "{text}");
        }
        for text in ["", " mail", "mail ", "1", "2.5.", "02.5", "1a", "-a", "cn;", "cn=", "na me", "é", "a,b", "*"] {
            assert!(!is_attribute(text), "{text}");
        }
    }

    #[test]
    fn distinguished_names_are_parts_with_commas_between_them() {
        for text in [
            "dc=example",
            "cn=sync,dc=corp,dc=example",
            "CN = Sync User , DC=corp",
            r"cn=Smith\, Ann,ou=people",
            "cn=\"Smith, Ann\",ou=people",
            "2.5.4.3=x",
            "cn=a+sn=b,dc=c",
            "ou=Müller",
        ] {
            assert!(is_distinguished(text), "{text}");
        }
        for text in ["", "example", "dc=", "=example", "dc=corp,", ",dc=corp", "dc=corp,,dc=example", "sync@corp.example", r"CORP\sync"] {
            assert!(!is_distinguished(text), "{text}");
        }
    }
}
