-- version.lua: which edit of the rules this is; spec/chaos/edits.lua writes others.
return "v0"
