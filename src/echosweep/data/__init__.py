"""Sources of videos and the frame store that everything is prepared into."""
