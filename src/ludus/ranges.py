"""Names for numbers of a range. To Python they are plain types; `recipe.check` holds what a user gives to the range."""

Positive = float  # > 0
NotNegative = float  # ≥ 0
Share = float  # 0 to 1
Count = int  # ≥ 1
Many = int  # ≥ 0
