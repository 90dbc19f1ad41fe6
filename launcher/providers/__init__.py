"""Where machines run: each provider starts them, stops them and finds them again."""
