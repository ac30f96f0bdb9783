"""Training small networks that the papers do not know, by SIBP and by tuned gradient methods: exhibit `x-modules`."""
