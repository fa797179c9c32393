//! Nothing of dns needs a privilege.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use sonde_tests::lab::{Family, Host, LabOptions};
use sonde_tests::{scene, world};

use crate::CARRIERS;

#[test]
fn nobody_can_ask_over_everything_that_carries_a_query() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    // Where nobody may read it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = world::runnable_copy("sonde-probe", folder.path()).unwrap();
    for family in Family::ALL {
        let server = Host::Dns.address(family).unwrap().to_string();
        for carrier in CARRIERS {
            let mut command = lab.host(Host::Dual).command("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]);
            command.arg(&program).args(["measure", "dns", "target.lab.example", "--server", &server]);
            command.arg(format!("--{}={}", carrier.field.0, carrier.field.1));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{carrier:?}: {}", String::from_utf8_lossy(&output.stderr));
            let result: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(result["result"]["ANCOUNT"], 1, "{carrier:?}: {result}");
        }
    }
}
