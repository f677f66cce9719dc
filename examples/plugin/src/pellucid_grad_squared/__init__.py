"""The method grad-squared for Pellucid."""
