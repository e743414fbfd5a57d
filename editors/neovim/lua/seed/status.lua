--- What a status line says. Knows what the server has told last, nothing else.
local M = {}

---@class seed.Status
---@field state string as in docs/protocol.md
---@field message string one sentence
---@field progress number?
---@field reason string?

M.current = { state = "stopped", message = "The server does not run." } ---@type seed.Status

local SAID = {
  stopped = "",
  starting = "seed …",
  loading = "seed …",
  ready = "seed",
  busy = "seed ●",
  restarting = "seed …",
  failed = "seed !",
}

--- Take over what `seed/status` says.
---@param status seed.Status
function M.set(status)
  M.current = status
  if status.state == "disabled" and (status.reason == "off" or status.reason == "snoozed") then
    require("seed.inline").clear()
  end
  vim.api.nvim_exec_autocmds("User", { pattern = "SeedStatus", modeline = false })
  vim.cmd.redrawstatus()
end

--- A few characters for a status line.
---@return string
function M.text()
  local status = M.current
  if status.state == "disabled" then
    local is_snoozed = status.reason == "snoozed"
    return is_snoozed and "seed zzz" or "seed off"
  end
  if status.state == "loading" and type(status.progress) == "number" then
    return ("seed %d%%"):format(math.floor(100 * status.progress))
  end
  return SAID[status.state] or "seed"
end

return M
