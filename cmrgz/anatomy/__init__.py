"""Hearts, measured: where a heart lies in a scan, its volumes, mass and motion; of scans, of draws and of cohorts."""
