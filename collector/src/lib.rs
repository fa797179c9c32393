//! sonde-collector
