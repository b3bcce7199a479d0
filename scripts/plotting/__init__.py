"""Charts of eps-bench reports: one file a chart; `inputs` reads, `style` draws what they share."""
