"""Training the video transformer in the stages of SkyReels-A1, on clips of people who talk."""
