--- Whether a popup menu is open: Neovim's own, nvim-cmp's or blink.cmp's.
---
--- None of them is loaded for it.
local M = {}
local has_cmp = false

--- Whether there is a menu that gray text would stand beside.
---@return boolean
function M.is_open()
  if vim.fn.pumvisible() == 1 then
    return true
  end
  for _, name in ipairs({ "cmp", "blink.cmp" }) do
    local module = package.loaded[name]
    local visible = type(module) == "table" and (module.is_menu_visible or module.visible)
    if visible then
      local is_known, is_visible = pcall(visible)
      if is_known and is_visible then
        return true
      end
    end
  end
  return false
end

--- Have a function called when a menu opens or closes.
---@param group integer of autocommands
---@param on_change fun()
function M.watch(group, on_change)
  local later = vim.schedule_wrap(on_change)
  vim.api.nvim_create_autocmd({ "CompleteChanged", "CompleteDone" }, {
    group = group,
    callback = later,
  })
  vim.api.nvim_create_autocmd("User", {
    group = group,
    pattern = { "BlinkCmpMenuOpen", "BlinkCmpMenuClose" },
    callback = on_change,
  })
end

--- nvim-cmp tells of its menu by events of its own, which exist once it is loaded.
---@param on_change fun()
function M.watch_cmp(on_change)
  local cmp = package.loaded["cmp"]
  if has_cmp or type(cmp) ~= "table" or type(cmp.event) ~= "table" then
    return
  end
  has_cmp = true
  cmp.event:on("menu_opened", on_change)
  cmp.event:on("menu_closed", on_change)
end

return M
