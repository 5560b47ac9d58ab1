"""Polling of the Bridge: one task per participant, within POLICIES_LIST's own budget."""
