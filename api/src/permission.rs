//! What a key may do: the permissions by Atlas's names, and whether a key has one.
//!
//! A grant for a measurement is good for that one only, a grant without for all of the account's.

use sonde_protocol::ids::MeasurementId;
use sonde_store::catalog::{ApiKey, Grant};

/// Something that a key may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Make measurements.
    CreateMeasurement,
    /// Stop one.
    StopMeasurement,
    /// Change its description, or make it public.
    UpdateMeasurement,
    /// See private measurements in lists.
    ListMeasurements,
    /// See a private measurement.
    GetMeasurement,
    /// Read a private measurement's results.
    GetNonPublicResults,
    /// See the account's keys.
    ListKeys,
    /// See one of them.
    GetKey,
    /// Make keys that may do no more than this one.
    CreateKey,
    /// Change such keys.
    UpdateKey,
    /// Remove such keys.
    DeleteKey,
    /// See the account's credits.
    GetCreditInfo,
    /// Give credits to others.
    TransferCredits,
    /// See the account's own probes as their owner does.
    ListProbes,
    /// Change them.
    UpdateProbe,
    /// See the account's alert rules.
    ListAlerts,
    /// Make, change, test and remove them.
    ManageAlerts,
}

use Permission::{
    CreateKey, CreateMeasurement, DeleteKey, GetCreditInfo, GetKey, GetMeasurement, GetNonPublicResults, ListAlerts,
    ListKeys, ListMeasurements, ListProbes, ManageAlerts, StopMeasurement, TransferCredits, UpdateKey,
    UpdateMeasurement, UpdateProbe,
};

impl Permission {
    /// All there are.
    pub const ALL: [Permission; 17] = [
        CreateMeasurement,
        StopMeasurement,
        UpdateMeasurement,
        ListMeasurements,
        GetMeasurement,
        GetNonPublicResults,
        ListKeys,
        GetKey,
        CreateKey,
        UpdateKey,
        DeleteKey,
        GetCreditInfo,
        TransferCredits,
        ListProbes,
        UpdateProbe,
        ListAlerts,
        ManageAlerts,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            CreateMeasurement => "measurements.create_measurement",
            StopMeasurement => "measurements.stop_measurement",
            UpdateMeasurement => "measurements.update_measurement",
            ListMeasurements => "measurements.list_measurements",
            GetMeasurement => "measurements.get_measurement",
            GetNonPublicResults => "measurements.get_non_public_results",
            ListKeys => "keys.list_keys",
            GetKey => "keys.get_key",
            CreateKey => "keys.create_key",
            UpdateKey => "keys.update_key",
            DeleteKey => "keys.delete_key",
            GetCreditInfo => "credits.get_credit_info",
            TransferCredits => "credits.transfer_credits",
            ListProbes => "probes.list_probes",
            UpdateProbe => "probes.update_probe",
            ListAlerts => "alerts.list_alerts",
            ManageAlerts => "alerts.manage_alerts",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }

    /// Can it be granted for a single measurement?
    pub fn has_targets(self) -> bool {
        matches!(self, StopMeasurement | UpdateMeasurement | GetMeasurement | GetNonPublicResults)
    }
}

/// May the key do this with this measurement (with all of them when none is named)?
pub(crate) fn may(key: &ApiKey, permission: Permission, measurement: Option<MeasurementId>) -> bool {
    let Some(grants) = &key.grants else { return true };
    grants.iter().any(|grant| {
        grant.permission == permission.name() && (grant.measurement.is_none() || grant.measurement == measurement)
    })
}

/// May the key do all there is to do?
pub(crate) fn may_everything(key: &ApiKey) -> bool {
    Permission::ALL.into_iter().all(|permission| may(key, permission, None))
}

/// May the key do all that these grants (everything when absent) allow?
pub(crate) fn covers(key: &ApiKey, grants: Option<&[Grant]>) -> bool {
    match grants {
        None => may_everything(key),
        Some(grants) => grants.iter().all(|grant| {
            Permission::named(&grant.permission).is_some_and(|permission| may(key, permission, grant.measurement))
        }),
    }
}

/// Is this the name of a permission?
pub fn is_permission(name: &str) -> bool {
    Permission::named(name).is_some()
}
