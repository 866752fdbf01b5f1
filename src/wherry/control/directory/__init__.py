"""The directory: users, groups and programs, in the shapes of Microsoft Graph that Azure's clients use."""
