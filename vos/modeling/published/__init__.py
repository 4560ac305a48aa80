"""Published networks: STM and STCN."""
