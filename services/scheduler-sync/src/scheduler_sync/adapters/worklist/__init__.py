"""PowerServer's modality worklist over DICOM: asked in a process of its own, off the service's event loop."""
