"""The commands: what each prints. A module registers its commands when it is imported."""
