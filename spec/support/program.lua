-- program.lua: the tidemill program, run from a folder of its own, so that no settings file nor
-- variable of the machine is met.
--
--   local program = require "spec.support.program"
--   local code, out, err = program.run({ "dlq", "list" }, { env = { REDIS_URL = server:url() } })
--
-- The binary is TIDEMILL_BIN, or that of the variant under test.
local files = require "spec.support.files"
local process = require "spec.support.process"

local program = {}

-- Variables that would change what the program does.
local OURS = { "REDIS_URL", "TIDEMILL_GROUP", "TIDEMILL_RULES", "TIDEMILL_CONFIG", "TIDEMILL_FROM",
  "TIDEMILL_HTTP", "TIDEMILL_CONTROL", "TIDEMILL_WORKERS", "TIDEMILL_LOG_LEVEL",
  "TIDEMILL_LOG_FORMAT", "TIDEMILL_EMBEDDED", "TIDEMILL_ALLOW_EVICTION", "XDG_RUNTIME_DIR",
  "NO_COLOR" }

local here = io.popen("pwd"):read("*l")

function program.path()
  local variant = os.getenv("VARIANT") or "release"
  local path = os.getenv("TIDEMILL_BIN") or ("build/%s/tidemill"):format(variant)
  return path:sub(1, 1) == "/" and path or here .. "/" .. path
end

local function options_of(arguments, options)
  local all = { program.path() }
  for _, argument in ipairs(arguments) do
    all[#all + 1] = argument
  end
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  local env = {}
  for _, name in ipairs(OURS) do
    env[name] = false
  end
  for name, value in pairs(options and options.env or {}) do
    env[name] = value
  end
  all.env = env
  program.folder = program.folder or files.temp_folder()
  all.folder = all.folder or program.folder
  return all
end

-- To its end; returns the exit status, standard output, standard error. Options as of process.run,
-- `input` too.
function program.run(arguments, options, deadline_s)
  return process.run(options_of(arguments, options), deadline_s or 20)
end

-- In the background.
function program.start(arguments, options)
  return process.start(options_of(arguments, options))
end

-- A line of sh in which "$tidemill" is the program.
function program.shell(line, options, deadline_s)
  local all = options_of({}, options)
  all[1], all[2], all[3] = "sh", "-c", line
  all.env.tidemill = program.path()
  return process.run(all, deadline_s or 20)
end

return program
