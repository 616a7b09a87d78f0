"""Many recipes at once: a space of choices becomes trials, a Ray cluster runs them, and one report holds the front."""
