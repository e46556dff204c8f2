"""Who may ask for what: credentials, the principals behind them, limits on how often they ask."""
