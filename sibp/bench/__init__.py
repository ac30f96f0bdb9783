"""What a step costs: `measure` times it side by side with torch's, `cost` counts it without the device, `check` asks the device itself."""
