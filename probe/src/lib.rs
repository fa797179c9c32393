//! sonde-probe
