//! What `[run]` says about a process that is operated: where it listens, how much memory it may use.

use super::project::Reader;
use super::size::SizeText;

/// What there is to lose when nothing was said: the rest of the machine needs some memory too.
pub(super) const MEMORY_MAX: &str = "80%";

impl Reader<'_> {
    /// `host:port`, the host left as written: it is looked up when the port is opened.
    pub(super) fn listen(&mut self) -> Option<String> {
        let (text, origin) = self.text("run.listen")?;
        let parts = text.rsplit_once(':');
        let is_address = parts.is_some_and(|(host, port)| {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            !host.is_empty() && !host.contains([' ', '/']) && port.parse::<u16>().is_ok()
        });
        if !is_address {
            let help = "write \"127.0.0.1:8090\", or \"0.0.0.0:8090\" to be reached from other machines";
            self.refuse(&origin, format!("`{text}` isn't an address to listen on"), help);
            return None;
        }
        Some(text)
    }

    pub(super) fn memory_max(&mut self) -> SizeText {
        let default = MEMORY_MAX.parse().expect("the default is an amount of memory");
        let Some((text, origin)) = self.text("run.memory_max") else { return default };
        text.parse().unwrap_or_else(|error| {
            self.refuse(&origin, format!("`run.memory_max`: {error}"), "");
            default
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Project;
    use super::*;

    fn parse(text: &str) -> Result<Project, Vec<String>> {
        let parsed = Project::parse(PathBuf::from("/project"), text);
        parsed.map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn a_process_listens_nowhere_and_leaves_a_fifth_of_the_memory_unless_told() {
        let run = parse("").expect("valid").run;
        assert_eq!((run.listen, run.memory_max), (None, SizeText::Percent(80)));
        let text = "[run]\nlisten = \"127.0.0.1:8090\"\nmemory_max = \"4GB\"\n";
        let run = parse(text).expect("valid").run;
        assert_eq!((run.listen.as_deref(), run.memory_max), (Some("127.0.0.1:8090"), SizeText::Bytes(4 << 30)));
        for address in ["localhost:0", "[::1]:8090", "0.0.0.0:80"] {
            let run = parse(&format!("[run]\nlisten = \"{address}\"\n")).expect("valid").run;
            assert_eq!(run.listen.as_deref(), Some(address));
        }
    }

    #[test]
    fn what_is_no_address_and_no_amount_is_refused() {
        for address in ["8090", ":8090", "127.0.0.1", "127.0.0.1:99999", "http://127.0.0.1:8090/metrics"] {
            let problems = parse(&format!("[run]\nlisten = \"{address}\"\n")).expect_err("no address");
            assert_eq!(problems, [format!("`{address}` isn't an address to listen on")]);
        }
        let problems = parse("[run]\nmemory_max = \"lots\"\n").expect_err("no amount");
        assert!(problems[0].starts_with("`run.memory_max`: `lots` isn't an amount of memory"), "{problems:?}");
    }
}
