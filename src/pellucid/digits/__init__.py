"""The digits laboratory: small pictures, networks that learn them in minutes, a lesson on both."""
