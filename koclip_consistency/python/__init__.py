"""What `import koclip_consistency as kc` offers: the workflows' steps as functions, with pandas tables in and out."""
