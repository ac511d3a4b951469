"""Words in names of files and folders that tell what stands beside them."""

#: Name of the stimulus where paths and annotations name none.
WHOLE = "recording"
#: Before the number of a person.
PERSON_WORDS = {
    *("sub", "subj", "subject", "s", "p", "vp", "pp", "part", "participant", "person"),
    *("patient", "proband", "pat", "id", "test", "predict", "versuchsperson"),
}
#: Before the number of a stimulus.
STIMULUS_WORDS = {
    *("run", "r", "trial", "t", "video", "vid", "v", "clip", "stim", "stimulus"),
    *("film", "movie", "m", "task", "block", "b", "c", "cond", "condition", "song"),
    "music",
}
#: What stimuli are called after, and hardly ever people.
FEELINGS = {
    *("happy", "happiness", "joy", "amusement", "sad", "sadness", "fear", "fearful"),
    *("anger", "angry", "disgust", "surprise", "tender", "tenderness", "neutral"),
    *("calm", "relax", "relaxed", "relaxing", "relaxation", "stress", "positive"),
    *("negative", "pleasant", "unpleasant", "boring", "boredom", "excited", "love"),
}
