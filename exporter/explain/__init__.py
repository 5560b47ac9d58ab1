"""Why an alert is, or isn't, firing."""
