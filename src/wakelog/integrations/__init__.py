"""Wakelog behind other libraries, one module for each; nothing is loaded here."""
