//! For how long what decisions were about is kept: what the files say, and nothing by itself.

use super::*;
use crate::registry::live::Registry;

const YEAR: &str = "[audit]\nfacts = \"365d\"\n";

#[test]
fn nothing_is_erased_by_what_broken_files_do_not_say() {
    let fixture = Fixture::new(&[("config.toml", &format!("{YEAR}nonsense = 1\n"))]);
    let registry = Registry::start(&fixture.home).unwrap();
    assert_eq!(registry.current().facts_kept_ms(), None, "nothing was ever good");
    fixture.write("config.toml", YEAR);
    assert_eq!(registry.reload().facts_kept_ms(), Some(365 * 24 * 3_600_000));
    fixture.write("manifests/a.yaml", "kind: Agent\n");
    assert_eq!(registry.reload().facts_kept_ms(), None);
    assert_eq!(Registry::start(&fixture.home).unwrap().current().facts_kept_ms(), None);
    fs::remove_file(fixture.dir.path().join("manifests/a.yaml")).unwrap();
    fixture.write("config.toml", "[audit]\nfacts = \"off\"\n");
    assert_eq!(registry.reload().facts_kept_ms(), Some(0));
}
